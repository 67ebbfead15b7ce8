use super::*;

const T0: i64 = 1_700_000_000_000;
const PATIENCE: Patience =
    Patience { floor: 30_000, first_data: 60_000, ccseq: 10_000, ceiling: 3_600_000 };

fn sub(text: &str) -> Sub {
    Sub::parse(text).unwrap()
}

fn watch(subs: &[&str]) -> Watch {
    let subs: Vec<Sub> = subs.iter().map(|text| sub(text)).collect();
    let mut watch = Watch::default();
    watch.want(&subs);
    for sub in &subs {
        watch.asked(sub, T0);
        watch.confirmed(sub);
    }
    watch
}

/// Runs second by second from `from` to `to` (both in seconds); who has data in a second is for `data`
/// to say. All alarms, with the second, answered as a source does: by asking again.
fn run(
    watch: &mut Watch,
    from: i64,
    to: i64,
    mut data: impl FnMut(i64) -> Vec<(u8, &'static str)>,
) -> Vec<(i64, String, u32, bool)> {
    let mut alarms = Vec::new();
    for second in from..to {
        let now = T0 + second * 1000;
        for (channel, key) in data(second) {
            watch.frame(Some(channel), key.as_bytes(), None, None, now);
        }
        let findings = watch.check(now, PATIENCE);
        for alarm in findings.alarms {
            watch.asked(&alarm.sub, now);
            watch.confirmed(&alarm.sub);
            alarms.push((second, alarm.sub.to_string(), alarm.before, findings.useless));
        }
    }
    alarms
}

#[test]
fn a_busy_pair_that_falls_silent_is_noticed_and_a_quiet_one_is_not() {
    let mut watch = watch(&["0~A~BUSY~USD", "0~A~QUIET~USD", "0~A~STEADY~USD"]);
    let alarms = run(&mut watch, 0, 4 * 3600, |second| {
        let mut data = vec![(0, "A~STEADY~USD")];
        if second < 7200 {
            data.push((0, "A~BUSY~USD"));
        }
        // One in about twenty minutes.
        if second % 1200 == 7 {
            data.push((0, "A~QUIET~USD"));
        }
        data
    });
    let (first, sub, before, _) = &alarms[0];
    assert_eq!((sub.as_str(), *before), ("0~A~BUSY~USD", 0));
    assert!((7230..7235).contains(first), "{first}");
    assert!(alarms.iter().all(|(_, sub, ..)| sub == "0~A~BUSY~USD"), "{alarms:?}");
    // Asked again after 1, 2, 4 … minutes, not every second.
    assert!((5..9).contains(&alarms.len()), "{alarms:?}");
    assert!(alarms.iter().all(|(.., useless)| !useless), "the steady one is alive");
}

#[test]
fn who_gives_nothing_from_the_start_is_noticed_whether_busy_or_quiet() {
    let mut watch = watch(&["0~A~B~USD", "5~CCCAGG~B~USD"]);
    let alarms = run(&mut watch, 0, 100, |_| vec![(0, "A~B~USD")]);
    assert_eq!(alarms, [(61, "5~CCCAGG~B~USD".to_owned(), 0, false)]);
}

#[test]
fn a_socket_on_which_asking_again_helps_nobody_is_useless() {
    let mut watch = watch(&["0~A~B~USD", "2~A~B~USD"]);
    let data = |second| if second < 300 { vec![(0, "A~B~USD"), (2, "A~B~USD")] } else { vec![] };
    let alarms = run(&mut watch, 0, 600, data);
    let useless = alarms.iter().find(|(.., useless)| *useless);
    let (second, _, before, _) = useless.unwrap_or_else(|| panic!("{alarms:?}"));
    assert!(*before >= 1 && (420..500).contains(second), "{alarms:?}");
}

#[test]
fn heartbeats_and_data_of_others_prove_nothing() {
    let mut watch = watch(&["0~A~B~USD"]);
    let alarms = run(&mut watch, 0, 200, |second| match second {
        0..100 => vec![(0, "A~B~USD")],
        // Another pair, another channel, a TYPE nobody knows.
        _ => vec![(0, "A~C~USD"), (2, "A~B~USD"), (99, "A~B~USD")],
    });
    assert_eq!(alarms.len(), 1, "{alarms:?}");
}

#[test]
fn a_sub_that_nobody_asks_for_raises_no_alarm_and_the_pause_is_not_learned() {
    let mut watch = watch(&["0~A~B~USD"]);
    assert_eq!(run(&mut watch, 0, 100, |_| vec![(0, "A~B~USD")]), []);
    watch.unasked(None);
    assert_eq!(run(&mut watch, 100, 9_000, |_| vec![]), []);
    watch.asked(&sub("0~A~B~USD"), T0 + 9_000_000);
    watch.confirmed(&sub("0~A~B~USD"));
    let alarms =
        run(
            &mut watch,
            9_000,
            9_200,
            |second| {
                if second < 9_100 { vec![(0, "A~B~USD")] } else { vec![] }
            },
        );
    assert_eq!(alarms.len(), 1);
    assert!((9_130..9_135).contains(&alarms[0].0), "{alarms:?}");
}

#[test]
fn the_first_data_after_each_asking_says_that_the_sub_is_back_and_whether_it_is_live() {
    let subs = ["0~A~B~USD", "24~A~B~USD~m", "24~A~B~USD~H"].map(sub);
    let mut watch = Watch::default();
    watch.want(&subs);
    subs.iter().for_each(|sub| watch.asked(sub, T0));
    let revived = |number, live| Some(Revived { number, live });
    let frame = |watch: &mut Watch, channel, unit, now| {
        watch.frame(Some(channel), b"A~B~USD", unit, None, now).0
    };
    assert_eq!(frame(&mut watch, 0, None, T0), revived(0, false), "what the vendor has in store");
    assert_eq!(frame(&mut watch, 0, None, T0 + 1), None);
    watch.confirmed(&subs[0]);
    assert_eq!(frame(&mut watch, 0, None, T0 + 2), revived(0, true));
    assert_eq!(frame(&mut watch, 0, None, T0 + 3), None);
    assert_eq!(frame(&mut watch, 24, Some(b'H'), T0 + 3), revived(2, false));
    // The vendor confirms nothing: what comes much later is live all the same.
    assert_eq!(frame(&mut watch, 24, Some(b'H'), T0 + 20_000), revived(2, true));
    assert_eq!(frame(&mut watch, 24, Some(b'm'), T0 + 20_000), revived(1, true));
    watch.asked(&subs[0], T0 + 30_000);
    assert_eq!(frame(&mut watch, 0, None, T0 + 30_001), revived(0, false));
    assert_eq!(watch.sub(0), Some(&subs[0]));
}

#[test]
fn a_stuck_feed_that_answers_with_what_it_has_in_store_is_left_all_the_same() {
    let mut watch = watch(&["0~A~B~USD"]);
    assert_eq!(run(&mut watch, 0, 300, |_| vec![(0, "A~B~USD")]), []);
    let (mut alarms, mut useless) = (vec![], false);
    for second in 300..900 {
        let now = T0 + second * 1000;
        let findings = watch.check(now, PATIENCE);
        useless |= findings.useless;
        for alarm in findings.alarms {
            alarms.push(alarm.before);
            watch.asked(&alarm.sub, now);
            watch.frame(Some(0), b"A~B~USD", None, None, now + 1);
            watch.confirmed(&alarm.sub);
        }
    }
    assert_eq!(alarms[..2], [0, 1]);
    assert!(useless && alarms.len() < 5, "{alarms:?}");
}

#[test]
fn each_pair_behind_a_wildcard_has_its_own_numbers() {
    let mut watch = watch(&["0~*~*~*"]);
    for (key, n) in [("A~B~C", 1), ("D~E~F", 100), ("A~B~C", 2), ("D~E~F", 103)] {
        watch.frame(Some(0), key.as_bytes(), None, Some(n), T0);
    }
    let missing = watch.check(T0 + 20_000, PATIENCE).missing;
    let expected = Missing { first: 101, count: 2, from: T0, to: T0 };
    assert_eq!(missing, [("D~E~F".to_owned(), expected)]);
}

#[test]
fn other_subs_cost_nobody_what_was_learned() {
    let mut watch = watch(&["0~A~B~USD"]);
    run(&mut watch, 0, 100, |_| vec![(0, "A~B~USD")]);
    watch.frame(Some(0), b"A~B~USD", None, Some(7), T0 + 100_000);
    let subs = [sub("0~A~C~USD"), sub("0~A~B~USD")];
    watch.want(&subs);
    watch.frame(Some(0), b"A~B~USD", None, Some(9), T0 + 101_000);
    let findings = watch.check(T0 + 140_000, PATIENCE);
    assert_eq!(findings.missing.len(), 1, "number 8");
    assert_eq!(findings.alarms.len(), 1, "the rhythm is known");
    assert_eq!(findings.alarms[0].sub, subs[1]);
}

#[test]
fn any_frame_can_be_watched() {
    let mut watch = watch(&["0~A~B~USD", "8~A~B~USD", "11~BTC", "4711~A~B~C", "0~*~x~y"]);
    for channel in [None, Some(0), Some(9), Some(30), Some(31), Some(255)] {
        for key in [b"".as_slice(), b"?", b"\xff\xfe", b"A~B~USD", b"11~BTC"] {
            watch.frame(channel, key, Some(b'm'), Some(u64::MAX), T0);
        }
    }
    assert_eq!(watch.ages().filter(|(_, last, _)| last.is_some()).count(), 2);
    watch.frame(Some(11), b"11~BTC", None, None, T0);
    assert_eq!(watch.ages().filter(|(_, last, _)| last.is_some()).count(), 3);
}
