//! The REST budget of a running source as a flag and a variable. That of `backfill` is its own setting.

use super::budget::PER_MINUTE;

/// How many REST calls may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct BudgetArgs {
    /// REST calls a minute for history at the start, gaps and commands; a fifteenth of it a second, ten
    /// times it an hour. The default is half of what the vendor gives without a subscription
    #[arg(
        long,
        env = "TICKPANDA_REST_PER_MINUTE",
        hide_env_values = true,
        default_value_t = PER_MINUTE,
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..=100_000),
        value_name = "N"
    )]
    pub rest_per_minute: u32,
}

impl Default for BudgetArgs {
    fn default() -> Self {
        BudgetArgs { rest_per_minute: PER_MINUTE }
    }
}

impl BudgetArgs {
    /// The history's rules with these budgets.
    pub fn rules(&self) -> crate::machine::history::Rules {
        crate::machine::history::Rules {
            per_minute: self.rest_per_minute,
            ..crate::machine::history::Rules::default()
        }
    }
}
