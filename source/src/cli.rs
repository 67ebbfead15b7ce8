//! The program's command line: what to do, and the settings of each.
//!
//! Without a subcommand it runs a source, with the same flags as `run`.

use clap::{Parser, Subcommand};

use tickpanda_kafka::settings::{KafkaSettings, PrefixSettings};

use crate::backfill::BackfillArgs;
use crate::ctl::CtlArgs;
use crate::settings::{Args, KeyArgs, parse};

/// CryptoCompare to Kafka: every frame of the WebSocket, and candles by REST, verbatim on one topic.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "tickpanda-source",
    version,
    args_conflicts_with_subcommands = true,
    after_help = AFTER_HELP
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings of `run`.
    #[command(flatten)]
    pub run: Args,
}

/// What the program does.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run a source until told to stop; the same as without any subcommand
    #[command(after_help = AFTER_HELP)]
    Run(Box<Args>),
    /// Fetch candles of the past by REST, through the same raw topic; run again after an interruption, it
    /// goes on where it was
    #[command(after_help = BACKFILL_HELP)]
    Backfill(Box<BackfillRun>),
    /// Send one command to running sources and print what became of it; needs no API key
    #[command(after_help = CTL_HELP)]
    Ctl(Box<CtlArgs>),
}

/// All settings of `backfill`: its own, and those that every subcommand has.
#[derive(Clone, Debug, clap::Args)]
pub struct BackfillRun {
    /// The vendor's keys.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// What is to be fetched.
    #[command(flatten)]
    pub backfill: BackfillArgs,

    /// The cluster, and how to be let in.
    #[command(flatten)]
    pub kafka: KafkaSettings,

    /// Address of the vendor's REST API, without /data
    #[arg(
        long,
        env = "CRYPTOCOMPARE_REST_URL",
        hide_env_values = true,
        default_value = "https://min-api.cryptocompare.com",
        value_name = "URL"
    )]
    pub rest_url: String,

    /// What topics' names begin with.
    #[command(flatten)]
    pub prefix: PrefixSettings,

    /// Topic for everything received; it must exist [default: the prefix and cryptocompare-raw]
    #[arg(long, env = "TICKPANDA_RAW_TOPIC", hide_env_values = true, value_parser = parse::topic, value_name = "TOPIC")]
    pub raw_topic: Option<String>,

    /// Stop as on SIGTERM when standard input is closed: for a parent that may be killed
    #[arg(long)]
    pub stop_on_stdin_close: bool,
}

// Paragraphs are one line each here: clap wraps them to the terminal.
const AFTER_HELP: &str = "\
The API key is taken from the variable CRYPTOCOMPARE_API_KEY (environment or .env; several, separated by commas, where an account has several) or from the file that --api-key-file names (one a line). It is sent in a header and shown nowhere. RUST_LOG sets what is logged (default: info).

Exit codes: 0 stopped as asked (what is not published yet waits in the spool for the next start), 1 internal, 2 a wrong setting, 3 API key refused, 4 the topic does not exist. A setting is wrong also where the brokers refuse the certificate, the name or the password at the start; later that is waited for.";

const BACKFILL_HELP: &str = "\
The API key is taken as for `run`. How far it is stands in the state folder, written down after each page; on a terminal there is a progress bar.

Exit codes: 0 all of it came, 1 not all of it, or stopped before (the last line says what is missing and what to do), 2 a wrong setting, 3 API key refused, 4 the topic does not exist.";

const CTL_HELP: &str = "\
Each source that the command is for answers on the replies topic: `accepted` where it takes time, then `ok` or `error`. All answers that come are printed. Without --to-source every source is asked, and one that answers more than a second after the first is not waited for.

Exit codes: 0 every answer is ok, 1 an answer is an error or the broker can't be asked, 2 a wrong setting, 4 a topic does not exist, 6 nobody answered in time, or not to the end.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"tickpanda-source").chain(args))
    }

    #[test]
    fn without_a_subcommand_it_runs_with_the_flags_that_users_know() {
        let flags = ["--brokers", "b:1", "--stop-on-stdin-close", "--state-dir", "s"];
        let cli = parse(&flags).unwrap();
        assert!(cli.command.is_none() && cli.run.stop_on_stdin_close);
        let Some(Command::Run(run)) = parse(&[&["run"], &flags[..]].concat()).unwrap().command
        else {
            panic!("run runs");
        };
        assert_eq!(format!("{run:?}"), format!("{:?}", cli.run));
    }

    #[test]
    fn flags_of_run_before_a_subcommand_are_refused_rather_than_ignored() {
        assert!(parse(&["--brokers", "b:1", "ctl", "retry"]).is_err());
        assert!(matches!(
            parse(&["ctl", "--brokers", "b:1", "retry"]).unwrap().command,
            Some(Command::Ctl(_))
        ));
        for flags in [["ctl", "--kafka-tls", "retry"], ["ctl", "retry", "--kafka-tls"]] {
            let Some(Command::Ctl(args)) = parse(&flags).unwrap().command else {
                panic!("{flags:?}")
            };
            assert!(args.kafka.kafka_tls, "{flags:?}");
        }
    }

    #[test]
    fn the_sample_of_settings_names_every_variable() {
        let sample = include_str!("../../.env.sample");
        let command = Cli::command();
        let variables = command.get_arguments().filter_map(|argument| argument.get_env());
        let variables = variables.filter_map(std::ffi::OsStr::to_str);
        for variable in variables.chain(tickpanda_kafka::settings::VARIABLES) {
            assert!(sample.contains(&format!("{variable}=")), "{variable}");
        }
    }

    #[test]
    fn every_help_names_its_exit_codes_and_hides_the_environments_values() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        command.build();
        let mut all = vec![command.clone()];
        while let Some(mut one) = all.pop() {
            for argument in one.get_arguments().filter(|argument| argument.get_env().is_some()) {
                assert!(argument.is_hide_env_values_set(), "{argument:?}");
            }
            let help = one.render_long_help().to_string();
            if ["tickpanda-source", "run", "ctl", "backfill"].contains(&one.get_name()) {
                assert!(help.contains("Exit codes: 0"), "{help}");
            }
            all.extend(one.get_subcommands().filter(|one| one.get_name() != "help").cloned());
        }
    }
}
