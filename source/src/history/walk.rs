//! Candles of one interval, page by page from the newest to the oldest: which page is next, and what an
//! answer means for the rest. Pure, and what is done outlives the process.
//!
//! The vendor's arithmetic: `limit=N` gives N + 1 rows, the last of which holds `toTs`; the next page
//! ends one interval before the first row of this one, so no row comes twice and none is left out. Each
//! page has an explicit `toTs`: the same request is the same page, today and after a restart. (The one
//! row that may come twice is the one before a single last row: nothing gives fewer than two.)

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tickpanda_model::candle::{Interval, Unit};
use tickpanda_model::control::History;

use crate::pages::Rows;

/// Units of time in one answer at most: `limit` × `aggregate`.
pub const MOST: u32 = 2000;
/// Pages in a row without any candle after which there is taken to be nothing earlier: one may be an
/// outage of the exchange.
const EMPTY_PAGES: u8 = 2;
/// After a candle is closed and no cache of the vendor's can hold it unfinished: a little more, ms.
const MARGIN: i64 = 2000;

/// For how many seconds the vendor's server may repeat an answer.
pub fn cached(unit: Unit) -> i64 {
    match unit {
        Unit::Minute => 40,
        Unit::Hour | Unit::Day => 610,
    }
}

/// Candles of one interval, and how far fetching them is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// Length of a candle, the vendor's aggregate included.
    pub interval: Interval,
    /// First second that is wanted; absent where only `left` says how far back.
    from: Option<i64>,
    /// Start of the newest candle not fetched yet.
    next: i64,
    /// At most so many more candles, where a number was asked for.
    left: Option<u64>,
    /// Up to now, whenever that is when it begins.
    open: bool,
    /// When it may begin, ms since the epoch.
    pub not_before: i64,
    /// Pages that were larger than a record as one page, oldest first. They come before `next`.
    parts: VecDeque<Page>,
    /// Rows of a page, fewer once one was too large.
    most: u32,
    /// Pages in a row without a candle.
    empty: u8,
    /// It fetches again what was not closed.
    closing: bool,
    /// Pages fetched.
    pub pages: u64,
    /// Rows in them.
    pub rows: u64,
    /// Start of the oldest row fetched.
    pub oldest: Option<i64>,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// `toTs`: the start of the last row.
    pub to: i64,
    /// `limit`: one less than the rows that come.
    pub limit: u32,
}

/// What is in a page that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Got {
    /// Start of its oldest row, if it has a row.
    pub oldest: Option<i64>,
    /// Rows.
    pub rows: usize,
    /// No candle among them.
    pub empty: bool,
}

impl From<&Rows> for Got {
    fn from(rows: &Rows) -> Self {
        Got { oldest: rows.times.first().copied(), rows: rows.times.len(), empty: rows.empty }
    }
}

/// What is to come after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Perhaps more pages.
    Further,
    /// Nothing: the market was not listed before the candles that came.
    Listing,
    /// Nothing: the answer is about later candles than asked for, and so would the next one be.
    Stuck,
}

impl Walk {
    /// The candles from the one that holds `from` to the one that holds `to`, seconds since the epoch;
    /// at most `count` of them, the newest. Without `to`: up to when it begins, now at the earliest.
    pub fn new(
        interval: Interval,
        from: Option<i64>,
        to: Option<i64>,
        count: Option<u64>,
        now: i64,
    ) -> Self {
        let length = interval.seconds();
        let floor = |at: i64| at.div_euclid(length) * length;
        Walk {
            interval,
            from: from.map(floor),
            next: floor(to.unwrap_or(now).min(now)),
            left: count,
            open: to.is_none(),
            not_before: 0,
            parts: VecDeque::new(),
            most: MOST / interval.count() + 1,
            empty: 0,
            closing: false,
            pages: 0,
            rows: 0,
            oldest: None,
        }
    }

    /// The next page, none if all are there. `now` in seconds.
    pub fn page(&mut self, now: i64) -> Option<Page> {
        if self.open && !self.has_begun() {
            let length = self.interval.seconds();
            self.next = now.div_euclid(length) * length;
        }
        self.next_page()
    }

    fn next_page(&self) -> Option<Page> {
        if let Some(part) = self.parts.front() {
            return Some(*part);
        }
        let rows = u32::try_from(self.remaining()).unwrap_or(u32::MAX).min(self.most);
        (rows > 0).then(|| Page { to: self.next, limit: (rows - 1).max(1) })
    }

    /// Whether a page is there, or was asked for in vain because it was too large.
    pub fn has_begun(&self) -> bool {
        self.pages > 0 || !self.parts.is_empty()
    }

    /// Whether all pages are there.
    pub fn is_finished(&self) -> bool {
        self.next_page().is_none()
    }

    /// Pages still to be fetched, at most: less if the market was listed in between.
    pub fn pages_left(&self) -> u64 {
        self.parts.len() as u64 + self.remaining().div_ceil(u64::from(self.most.max(1)))
    }

    /// Candles still to be asked for, parts of a page left out.
    fn remaining(&self) -> u64 {
        let length = self.interval.seconds();
        let left = self.left.unwrap_or(u64::MAX);
        let Some(from) = self.from else { return left };
        // A candle is wanted if its end is after `from`, however the vendor aligns them.
        let span = self.next.saturating_sub(from).saturating_add(length).max(0);
        left.min(span.unsigned_abs().div_ceil(length.unsigned_abs()))
    }

    /// First and last second of what is still to be fetched; for other intervals instead.
    pub fn rest(&self) -> Option<(i64, i64)> {
        let last = self.parts.back().map_or(self.next, |part| part.to.max(self.next));
        let length = self.interval.seconds();
        let count = i64::try_from(self.left.unwrap_or(0)).unwrap_or(i64::MAX);
        let from = self.from.unwrap_or(last.saturating_sub(count.saturating_mul(length)));
        (from <= last).then_some((from, last.saturating_add(length - 1)))
    }

    /// The page is in the spool.
    pub fn took(&mut self, page: Page, got: Got) -> Then {
        let length = self.interval.seconds();
        self.pages += 1;
        self.rows += got.rows as u64;
        if let Some(oldest) = got.oldest {
            self.oldest = Some(self.oldest.unwrap_or(oldest).min(oldest));
        }
        if self.parts.front() == Some(&page) {
            self.parts.pop_front();
            return Then::Further;
        }
        if got.oldest.is_some_and(|oldest| oldest > page.to) {
            return Then::Stuck;
        }
        self.continue_below(page, got.oldest, length);
        self.empty = if got.empty { self.empty.saturating_add(1) } else { 0 };
        if self.empty >= EMPTY_PAGES && !self.is_finished() { Then::Listing } else { Then::Further }
    }

    /// The page was larger than a record: these instead, oldest first, which together have its rows.
    pub fn split(&mut self, page: Page, oldest: Option<i64>, parts: Vec<Page>) {
        if self.parts.front() == Some(&page) {
            self.parts.pop_front();
        } else {
            self.continue_below(page, oldest, self.interval.seconds());
        }
        // The next ones would be too large as well.
        self.most = parts.iter().map(|part| part.limit + 1).max().unwrap_or(self.most);
        parts.into_iter().rev().for_each(|part| self.parts.push_front(part));
    }

    fn continue_below(&mut self, page: Page, oldest: Option<i64>, length: i64) {
        let oldest = oldest.unwrap_or(page.to.saturating_sub(i64::from(page.limit) * length));
        self.next = oldest.saturating_sub(length);
        let covered = (page.to.saturating_sub(self.next) / length).max(1).unsigned_abs();
        self.left = self.left.map(|left| left.saturating_sub(covered));
    }

    /// The candles of a page received at `received_at` (ms) that were not closed by then, or that a
    /// cache of the vendor's may have held unfinished: to be fetched once more when they are.
    pub fn unfinished(&self, page: Page, received_at: i64) -> Option<Walk> {
        let length = self.interval.seconds();
        // When the candle that begins then is surely closed, ms.
        let closed = |bucket: i64| {
            bucket.saturating_add(length + cached(self.interval.unit())).saturating_mul(1000)
        };
        if self.closing || closed(page.to) <= received_at {
            return None;
        }
        let first = page.to.saturating_sub(i64::from(page.limit) * length);
        let first = first.max(self.from.unwrap_or(i64::MIN));
        let mut from = page.to;
        while from - length >= first && closed(from - length) > received_at {
            from -= length;
        }
        let walk = Walk::new(self.interval, Some(from), Some(page.to), None, page.to);
        Some(Walk { closing: true, not_before: closed(page.to) + MARGIN, ..walk })
    }

    /// Whether it wants the same as another one that has not begun either.
    pub fn is_same_wish(&self, other: &Walk) -> bool {
        !self.has_begun()
            && !other.has_begun()
            && (self.interval, self.from, self.left, self.open, self.closing)
                == (other.interval, other.from, other.left, other.open, other.closing)
            && (self.open || self.next == other.next)
    }

    /// The request for a page of this pair.
    pub fn request(&self, pair: &super::job::Pair, page: Page) -> History {
        History {
            fsym: pair.base.clone(),
            tsym: pair.quote.clone(),
            e: pair.market.clone(),
            interval: self.interval,
            aggregate: None,
            from: None,
            to: Some(page.to),
            limit: Some(page.limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_773_144_030;

    fn interval(text: &str) -> Interval {
        text.parse().unwrap()
    }

    /// The vendor's rows for a page, of a market listed at this time (with rows of zeros before).
    fn answer(interval: Interval, page: Page, listed: i64) -> Got {
        let length = interval.seconds();
        let last = page.to.div_euclid(length) * length;
        Got {
            oldest: Some(last - i64::from(page.limit) * length),
            rows: page.limit as usize + 1,
            empty: last + length <= listed,
        }
    }

    /// Walks to the end. Returns the pages.
    fn walk(mut walk: Walk, listed: i64) -> (Vec<Page>, Walk) {
        let mut pages = Vec::new();
        while let Some(page) = walk.page(NOW) {
            pages.push(page);
            let then = walk.took(page, answer(walk.interval, page, listed));
            if then != Then::Further {
                break;
            }
        }
        (pages, walk)
    }

    #[test]
    fn pages_go_backwards_without_a_hole_and_without_a_row_twice() {
        let minute = NOW / 60 * 60;
        for (interval_text, from, to, count, expected) in [
            // Newest first: (start of the last row relative to the first page's, limit).
            ("1m", Some(NOW - 60 * 9), None, None, vec![(0, 9)]),
            ("1m", Some(NOW - 60 * 2000), None, None, vec![(0, 2000)]),
            ("1m", Some(NOW - 60 * 2001), None, None, vec![(0, 2000), (2001, 1)]),
            ("1m", Some(NOW - 60 * 5000), None, None, vec![(0, 2000), (2001, 2000), (4002, 998)]),
            // A number of candles.
            ("1m", None, None, Some(201), vec![(0, 200)]),
            ("1m", None, None, Some(4002), vec![(0, 2000), (2001, 2000)]),
            ("1m", Some(NOW - 60 * 9), None, Some(5), vec![(0, 4)]),
            // A single candle: `limit=1` gives two rows, and nothing gives one.
            ("1m", None, None, Some(1), vec![(0, 1)]),
            // Aggregates: limit × aggregate is 2,000 at most.
            ("30m", Some(NOW - 1800 * 99), None, None, vec![(0, 66), (67, 32)]),
            ("5m", None, None, Some(1000), vec![(0, 400), (401, 400), (802, 197)]),
            // The last candle is the one that holds `to`, and the future has none.
            ("1m", Some(minute - 600), Some(minute - 1), None, vec![(0, 9)]),
            ("1m", Some(minute - 600), Some(NOW + 9000), None, vec![(0, 10)]),
            ("1m", Some(NOW), Some(NOW - 600), None, vec![]),
            ("1m", Some(NOW), None, Some(0), vec![]),
        ] {
            let interval = interval(interval_text);
            let wanted = Walk::new(interval, from, to, count, NOW);
            assert_eq!(wanted.pages_left(), expected.len() as u64, "{interval} {from:?}");
            let (pages, end) = walk(wanted, 0);
            let newest = pages.first().map_or(0, |page| page.to);
            let pages: Vec<(i64, u32)> = (pages.iter())
                .map(|page| ((newest - page.to) / interval.seconds(), page.limit))
                .collect();
            assert_eq!(pages, expected, "{interval} {from:?} {to:?} {count:?}");
            assert_eq!((end.pages, end.pages_left()), (expected.len() as u64, 0));
        }
    }

    proptest! {
        #[test]
        fn the_rows_of_all_pages_are_the_rows_wanted(
            count in 1u32..=30, unit in 0usize..3, length in 0i64..100_000_000, shift in 0i64..86_400,
            most in prop::option::of(0u64..9000)
        ) {
            let unit = [Unit::Minute, Unit::Hour, Unit::Day][unit];
            let interval = Interval::new(count, unit).unwrap();
            let seconds = interval.seconds();
            let (from, to) = (NOW - shift - length % (seconds * 9000), NOW - shift);
            let (pages, _) = walk(Walk::new(interval, Some(from), Some(to), most, NOW), 0);
            let mut rows: Vec<i64> = (pages.iter())
                .flat_map(|page| (0..=i64::from(page.limit)).map(|back| page.to - back * seconds))
                .collect();
            prop_assert!(pages.iter().all(|page| (1..=MOST / count).contains(&page.limit)));
            let floor = |at: i64| at.div_euclid(seconds) * seconds;
            let all: Vec<i64> = (0..).map(|back| floor(to) - back * seconds)
                .take_while(|row| *row >= floor(from))
                .take(usize::try_from(most.unwrap_or(u64::MAX)).unwrap())
                .collect();
            // The row before a single last one comes with it.
            prop_assert!(rows.len() - all.len() <= 1);
            rows.truncate(all.len());
            prop_assert_eq!(rows, all);
        }
    }

    #[test]
    fn it_ends_before_the_listing_and_not_at_the_first_page_without_a_candle() {
        let day = |back: i64| (NOW / 86_400 - back) * 86_400;
        let all = Walk::new(interval("1d"), Some(day(20_000)), None, None, NOW);
        // Listed 3,000 days ago: the second page has candles, the third and fourth have none.
        let (pages, end) = walk(all.clone(), day(3000));
        assert_eq!((pages.len(), end.pages_left()), (4, 6));
        // An outage of one page's length is no reason to end.
        let mut walk = all;
        let mut pages = 0;
        while let Some(page) = walk.page(NOW) {
            let outage = Got { empty: pages % 2 == 1, ..answer(walk.interval, page, 0) };
            assert_eq!(walk.took(page, outage), Then::Further);
            pages += 1;
        }
        assert_eq!(pages, 10);
    }

    #[test]
    fn a_short_page_is_no_end_and_an_answer_without_rows_is_a_page_without_candles() {
        let minute = NOW / 60 * 60;
        let mut walk = Walk::new(interval("1m"), Some(minute - 60 * 3000), None, None, NOW);
        let page = walk.page(NOW).unwrap();
        // 500 rows of 2,001.
        let got = Got { oldest: Some(page.to - 499 * 60), rows: 500, empty: false };
        assert_eq!(walk.took(page, got), Then::Further);
        let page = walk.page(NOW).unwrap();
        assert_eq!(page, Page { to: minute - 500 * 60, limit: 2000 });
        let nothing = Got { oldest: None, rows: 0, empty: true };
        assert_eq!(walk.took(page, nothing), Then::Further);
        assert_eq!(walk.page(NOW), Some(Page { to: minute - 2501 * 60, limit: 499 }));
    }

    #[test]
    fn who_answers_with_other_candles_than_asked_for_is_not_asked_for_ever() {
        let mut walk = Walk::new(interval("1m"), Some(0), Some(NOW - 864_000), None, NOW);
        let page = walk.page(NOW).unwrap();
        let newest = Got { oldest: Some(NOW / 60 * 60 - 60), rows: 2, empty: false };
        assert_eq!(walk.took(page, newest), Then::Stuck);
    }

    #[test]
    fn a_page_too_large_for_a_record_comes_in_parts_and_the_next_ones_are_smaller() {
        let minute = NOW / 60 * 60;
        let mut walk = Walk::new(interval("1m"), Some(minute - 60 * 19), None, None, NOW);
        walk.most = 10;
        let page = walk.page(NOW).unwrap();
        let parts = vec![Page { to: minute - 300, limit: 4 }, Page { to: minute, limit: 4 }];
        walk.split(page, Some(minute - 540), parts.clone());
        assert_eq!(walk.pages_left(), 4);
        assert_eq!(walk.rest(), Some((minute - 60 * 19, minute + 59)));
        // The first part is too large again.
        let again = vec![Page { to: minute - 420, limit: 2 }, Page { to: minute - 300, limit: 1 }];
        walk.split(parts[0], Some(minute - 540), again.clone());
        let kept: Walk = serde_json::from_str(&serde_json::to_string(&walk).unwrap()).unwrap();
        let (pages, _) = super::tests::walk(kept, 0);
        let rest = [(600, 2), (780, 2), (960, 2), (1140, 1)];
        let rest = rest.map(|(back, limit)| Page { to: minute - back, limit });
        assert_eq!(pages, [again, vec![parts[1]], rest.to_vec()].concat());
    }

    #[test]
    fn an_open_end_is_the_moment_at_which_it_begins() {
        let mut walk = Walk::new(interval("1m"), None, None, Some(11), NOW - 7200);
        let page = walk.page(NOW).unwrap();
        assert_eq!(page, Page { to: NOW / 60 * 60, limit: 10 });
        walk.took(page, answer(walk.interval, page, 0));
        assert_eq!(walk.page(NOW + 60), None);
    }

    #[test]
    fn what_was_not_closed_is_fetched_again_when_it_is() {
        let minute = NOW / 60 * 60;
        for (text, to, received, expected) in [
            // The minute of now (30 s into it): it and, cached for 40 s, the one before.
            ("1m", minute, minute + 30, Some((2, minute + 100))),
            ("1m", minute, minute + 40, Some((1, minute + 100))),
            ("1m", minute, minute + 99, Some((1, minute + 100))),
            ("1m", minute, minute + 100, None),
            ("1m", minute - 60, minute + 30, Some((1, minute + 40))),
            // The hour began at :00, now is 12:00:30: the one before may be cached for 610 s.
            ("1h", minute, minute + 30, Some((2, minute + 3600 + 610))),
            ("1h", minute, minute + 611, Some((1, minute + 3600 + 610))),
            ("1h", minute - 7200, minute + 30, None),
            ("1d", minute, minute + 30, Some((1, minute / 86_400 * 86_400 + 86_400 + 610))),
        ] {
            let wanted = Walk::new(interval(text), None, Some(to), Some(10), received);
            let page = Page { to: wanted.next, limit: 9 };
            let mut again = wanted.unfinished(page, received * 1000);
            let found = again.as_mut().map(|walk| {
                let page = walk.page(i64::MAX / 2).unwrap();
                assert_eq!(page.to, wanted.next);
                assert_eq!(walk.unfinished(page, walk.not_before), None);
                (walk.remaining(), (walk.not_before - MARGIN) / 1000)
            });
            assert_eq!(found, expected, "{text} {received}");
        }
        // Never more than was wanted.
        let one = Walk::new(interval("1m"), Some(minute), None, None, NOW);
        let again = one.unfinished(Page { to: minute, limit: 1 }, NOW * 1000).unwrap();
        assert_eq!(again.remaining(), 1);
    }
}
