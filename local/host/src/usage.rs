//! What a guest used of what it may use.

/// Memory and fuel of one VM's guest, counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of linear memory. It only grows, so this is also the most it ever had.
    pub memory: usize,
    /// Units of fuel that `_start` used up to its first call for a batch.
    pub start_fuel: u64,
    /// Records that the guest read and was done with.
    pub records: u64,
    /// Units that it used for all of them together: from a record to the next, or to the call for
    /// another batch.
    pub records_fuel: u64,
    /// Units that it used for the most expensive one, be it one that ended the guest.
    pub most_fuel: u64,
}

impl Usage {
    pub(crate) fn record(&mut self, fuel: u64) {
        self.records = self.records.saturating_add(1);
        self.records_fuel = self.records_fuel.saturating_add(fuel);
        self.most_fuel = self.most_fuel.max(fuel);
    }
}
