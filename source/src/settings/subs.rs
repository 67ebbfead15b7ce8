//! What to subscribe to, and over how many sockets.

use std::path::PathBuf;

use super::parse;
use crate::error::SourceError;

/// More subs than any account has: a wrong file, rather.
const MAX_SUBS: usize = 20_000;
pub(super) const DEFAULT_SUBS: [&str; 6] = [
    "0~Coinbase~BTC~USD",
    "0~Coinbase~ETH~USD",
    "0~Kraken~BTC~EUR",
    "0~Binance~BTC~USDT",
    "5~CCCAGG~BTC~USD",
    "5~CCCAGG~ETH~USD",
];

// No doc comment: clap would show it as the whole program's description.
#[derive(Clone, Debug, clap::Args)]
#[allow(missing_docs)]
pub struct SubArgs {
    /// What to subscribe to, separated by commas: 0 trades, 2 ticker, 5 index, 24 candles
    /// [default: trades of four pairs and two indices]
    #[arg(long, env = "TICKPANDA_SUBS", hide_env_values = true, value_delimiter = ',', value_parser = parse::sub, value_name = "SUB")]
    pub subs: Vec<String>,

    /// File with more subs, one a line; empty lines and lines that begin with # are skipped
    #[arg(long, env = "TICKPANDA_SUBS_FILE", hide_env_values = true, value_name = "FILE")]
    pub subs_file: Option<PathBuf>,

    /// WebSockets for each API key: as many as the account has; the subs are shared out among them
    #[arg(long, env = "TICKPANDA_SOCKETS", hide_env_values = true, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64), value_name = "N")]
    pub sockets: u16,

    /// Subs on one socket; 600 is the vendor's own limit for ordinary keys. More subs than all sockets
    /// together take are refused at the start
    #[arg(long, env = "TICKPANDA_SUBS_PER_SOCKET", hide_env_values = true, default_value_t = 600, value_parser = clap::value_parser!(u16).range(1..=10_000), value_name = "N")]
    pub subs_per_socket: u16,
}

impl SubArgs {
    /// Each sub once, in their order.
    ///
    /// # Errors
    /// [`SourceError::Setting`]: a file or a line that can't be used, or more than `keys` keys carry.
    pub(super) fn all(&self, keys: usize) -> Result<Vec<String>, SourceError> {
        let refuse = |problem: String| SourceError::Setting { name: "--subs-file", problem };
        let mut subs = self.subs.clone();
        if let Some(path) = &self.subs_file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| refuse(format!("{}: {error}", path.display())))?;
            for (number, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let at =
                    |problem| refuse(format!("{} line {}: {problem}", path.display(), number + 1));
                subs.push(parse::sub(line).map_err(at)?);
            }
            if subs.is_empty() {
                return Err(refuse(format!("{}: there is no sub in it", path.display())));
            }
        }
        if subs.is_empty() {
            subs = DEFAULT_SUBS.map(String::from).into();
        }
        let mut seen = std::collections::HashSet::new();
        subs.retain(|sub| seen.insert(sub.clone()));
        let (asked, capacity) = (subs.len(), self.capacity(keys));
        if asked > MAX_SUBS {
            let problem = format!("{asked} subs, and {MAX_SUBS} are the most");
            return Err(SourceError::Setting { name: "--subs", problem });
        }
        if asked > capacity {
            let (sockets, each) = (self.sockets, self.subs_per_socket);
            let problem = format!(
                "{asked} subs, and {capacity} are the most for {keys} keys with {sockets} sockets each (--sockets) of {each} subs (--subs-per-socket)"
            );
            return Err(SourceError::Setting { name: "--subs", problem });
        }
        Ok(subs)
    }

    /// How many subs all sockets of so many keys take.
    pub(super) fn capacity(&self, keys: usize) -> usize {
        keys.saturating_mul(self.sockets.into())
            .saturating_mul(self.subs_per_socket.into())
            .min(MAX_SUBS)
    }
}
