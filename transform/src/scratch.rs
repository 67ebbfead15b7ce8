//! Buffers that are reused from record to record, so that the steady state allocates nothing.
//! What is in them at the start of a record never matters.

/// Where the parts of one row are put together.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// Base and quote joined.
    pub(crate) symbol: String,
    /// The event's time in digits.
    pub(crate) time: String,
    /// The text that a trade's id is the hash of.
    pub(crate) identity: String,
}

impl Parts {
    /// Puts together the symbol of a pair: `BTCUSD`.
    pub(crate) fn join(&mut self, base: &str, quote: &str) {
        self.symbol.clear();
        self.symbol.push_str(base);
        self.symbol.push_str(quote);
    }
}

/// The output record that is written next.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) key: Vec<u8>,
    pub(crate) json: Vec<u8>,
}
