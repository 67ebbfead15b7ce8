//! Which order strikes what, as tables.

use super::*;
use crate::faults::rest::{RestError, RestFault};

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn an_order_strikes_what_it_is_for_as_often_as_it_says_and_no_longer_than_it_lasts() {
    let mut board = Board::default();
    let order = Order::new(Fault::DropAtOnce).on_sockets([2, 3, 4]).times(2);
    board.give(order.lasting(at(100)), at(1000)).unwrap();
    let mut upgrade = |socket, ms| board.strike(&Moment::Upgrade { socket }, at(ms)).is_some();
    let strikes: Vec<bool> =
        [(1, 1000), (2, 1001), (3, 1100), (3, 1050)].map(|(s, ms)| upgrade(s, ms)).into();
    // Not selected; selected; over by time, and gone with that.
    assert_eq!(strikes, [false, true, false, false]);
    assert_eq!(board.struck(), BTreeMap::from([("drop_at_once".to_owned(), 1)]));

    board.give(Order::new(Fault::DropAtOnce).times(2), at(2000)).unwrap();
    let strikes =
        [1, 2, 3].map(|socket| board.strike(&Moment::Upgrade { socket }, at(9999)).is_some());
    assert_eq!(strikes, [true, true, false]);
    assert!(board.standing(at(9999)).is_empty());
    assert_eq!(board.struck()["drop_at_once"], 3);
}

#[test]
fn a_fault_of_a_moment_strikes_once_unless_it_is_told_otherwise() {
    let mut board = Board::default();
    let ends = |board: &mut Board, now| {
        (1..=4).filter(|&socket| board.strike(&Moment::End { socket }, now).is_some()).count()
    };
    board.give(Fault::Kick.into(), at(0)).unwrap();
    assert_eq!(ends(&mut board, at(0)), 1);
    board.give(Order::new(Fault::Cut).times(3), at(0)).unwrap();
    assert_eq!(ends(&mut board, at(0)), 3);
    board.give(Order::new(Fault::Cut).lasting(at(10)), at(0)).unwrap();
    assert_eq!((ends(&mut board, at(9)), ends(&mut board, at(10))), (4, 0));
}

#[test]
fn each_moment_has_faults_of_its_own() {
    let path = "/data/v2/histominute?fsym=BTC&tsym=USD";
    let moments = [
        Moment::Upgrade { socket: 1 },
        Moment::Admission { socket: 1 },
        Moment::End { socket: 1 },
        Moment::Extra { socket: 1, sub: None, after: 0 },
        Moment::Message { socket: 1 },
        Moment::Add { socket: 1, sub: "0~A~B~C" },
        Moment::Remove { socket: 1, sub: "0~A~B~C" },
        Moment::Call { path },
        Moment::Rows { path },
    ];
    for (fault, expected) in [
        (Fault::HalfOpen, 0),
        (Fault::NoWelcome, 1),
        (Fault::Kick, 2),
        (Fault::EmptyFrame, 3),
        (Fault::InvalidJson, 4),
        (Fault::InvalidSub, 5),
        (Fault::Unrecognized, 6),
        (Fault::Rest(RestFault::Error(RestError::NoData)), 7),
        (Fault::Rest(RestFault::ZeroRows), 8),
    ] {
        for (at_moment, moment) in moments.iter().enumerate() {
            let mut board = Board::default();
            board.give(fault.clone().into(), at(0)).unwrap();
            let struck = board.strike(moment, at(0)).is_some();
            assert_eq!(struck, at_moment == expected, "{fault:?} at {moment:?}");
        }
    }
}

#[test]
fn selectors_hold_for_subs_and_paths() {
    let mut board = Board::default();
    board.give(Order::new(Fault::InvalidSub).on_subs(["0~A~*"]), at(0)).unwrap();
    let order = Order::new(Fault::Rest(RestFault::NoAnswer)).on_paths(["histominute"]);
    board.give(order, at(0)).unwrap();
    for (moment, expected) in [
        (Moment::Add { socket: 1, sub: "0~A~B~C" }, true),
        (Moment::Add { socket: 1, sub: "2~A~B~C" }, false),
        (Moment::Call { path: "/data/v2/histominute?fsym=BTC" }, true),
        (Moment::Call { path: "/data/v2/histohour?fsym=BTC" }, false),
    ] {
        assert_eq!(board.strike(&moment, at(0)).is_some(), expected, "{moment:?}");
    }
}

#[test]
fn what_lies_on_sockets_keeps_the_sockets_it_took_hold_of() {
    let mut board = Board::default();
    let id = board.give(Order::new(Fault::Silent).times(1).lasting(at(50)), at(0)).unwrap();
    board.give(Order::new(Fault::Fragments { parts: 3 }).on_sockets([2]), at(0)).unwrap();
    let first = board.effects(1, at(0));
    assert_eq!((first.silent, first.fragments, first.until), (true, None, Some(at(50))));
    let second = board.effects(2, at(0));
    assert_eq!((second.silent, second.fragments, second.until), (false, Some(3), None));
    assert!(board.effects(1, at(49)).silent);
    assert!(board.stands(id, at(49)) && !board.stands(id, at(50)));
    assert_eq!(board.effects(1, at(50)), Effects::default());
    // One whose socket is gone has struck.
    board.give(Order::new(Fault::Silent).times(1), at(60)).unwrap();
    assert!(board.effects(3, at(60)).silent);
    board.forget(3);
    assert!(!board.effects(4, at(60)).silent);
    assert_eq!(board.struck()["silent"], 2);
}

#[test]
fn an_extra_frame_comes_once_at_once_and_then_with_the_data() {
    let mut board = Board::default();
    board.give(Order::new(Fault::EmptyFrame).times(3), at(0)).unwrap();
    let mut extra = |sub, after| {
        board.strike(&Moment::Extra { socket: 1, sub, after }, at(0)).map(|(id, _)| id)
    };
    assert_eq!(extra(None, 0), Some(1));
    assert_eq!(extra(None, 1), None);
    assert_eq!(extra(Some("0~A~B~C"), 0), Some(1));
    assert_eq!(extra(Some("0~A~B~C"), 0), Some(1));
    assert_eq!(extra(Some("0~A~B~C"), 0), None);
}

#[test]
fn an_order_stands_while_a_request_waits_for_its_end() {
    let mut board = Board::default();
    let id = board.give(Order::new(Fault::HalfOpen).times(1), at(0)).unwrap();
    assert!(board.strike(&Moment::Upgrade { socket: 1 }, at(0)).is_some());
    assert!(board.strike(&Moment::Upgrade { socket: 2 }, at(1)).is_none());
    assert!(board.stands(id, at(1)));
    board.let_go(id);
    assert!(board.standing(at(1)).is_empty());
}

#[test]
fn there_is_a_limit_and_clearing_makes_room() {
    let mut board = Board::default();
    for _ in 0..MAX_STANDING {
        board.give(Fault::Silent.into(), at(0)).unwrap();
    }
    assert!(matches!(board.give(Fault::Silent.into(), at(0)), Err(OrderError::TooMany(_))));
    assert!(board.clear(7) && !board.clear(7));
    assert!(board.give(Fault::Silent.into(), at(0)).is_ok());
    assert_eq!(board.clear_all(), MAX_STANDING);
    assert!(board.is_empty());
}
