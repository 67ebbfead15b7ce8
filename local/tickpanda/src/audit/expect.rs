//! What `normalize` makes of a record, as the rows that the sink would write.

use std::convert::Infallible;

use tickpanda_sink::row::{self, Cell, Table};
use tickpanda_transform::{DeadLetter, Emit};
use xxhash_rust::xxh3::xxh3_128;

/// One row: its table, its cells or why the sink refuses it, and the XXH3-128 of its record's value.
pub(crate) struct Row<'a> {
    pub(crate) table: Table,
    pub(crate) cells: Result<&'a [Cell<'a>], &'a str>,
    pub(crate) value: u128,
}

/// Hands each row over.
pub(crate) struct Rows<F>(pub(crate) F);

impl<F: FnMut(Row<'_>)> Emit for Rows<F> {
    type Error = Infallible;

    fn tick(&mut self, _: &[u8], json: &[u8]) -> Result<(), Infallible> {
        let value = xxh3_128(json);
        row::tick(json, |cells| (self.0)(Row { table: Table::Ticks, cells, value }));
        Ok(())
    }

    fn candle(&mut self, _: &[u8], json: &[u8]) -> Result<(), Infallible> {
        let value = xxh3_128(json);
        row::candle(json, |cells| (self.0)(Row { table: Table::Candles, cells, value }));
        Ok(())
    }

    fn dead_letter(&mut self, letter: DeadLetter<'_>) -> Result<(), Infallible> {
        let DeadLetter { key, value, headers } = letter;
        let hash = xxh3_128(value.unwrap_or_default());
        row::dead_letter(key, value, &headers, |cells| {
            (self.0)(Row { table: Table::DeadLetters, cells, value: hash });
        });
        Ok(())
    }
}
