use super::subs::DEFAULT_SUBS;
use super::*;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _};
use std::io::Write as _;

/// Without the environment of whoever runs the tests.
fn parse(args: &[&str]) -> Result<Args, clap::Error> {
    let command = Args::command().mut_args(|argument| argument.env(None::<&str>));
    let matches = command.try_get_matches_from([&["tickpanda-source"], args].concat())?;
    Args::from_arg_matches(&matches)
}

fn check(args: &[&str]) -> Result<Settings, SourceError> {
    parse(args).unwrap().check(Some("s3cret"))
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn the_defaults_are_those_that_users_know() {
    let settings = check(&[]).unwrap();
    assert_eq!(settings.brokers, ["localhost:9092"]);
    assert_eq!(settings.ws_url.as_str(), "wss://streamer.cryptocompare.com/v2");
    assert_eq!(settings.rest_url.as_str(), "https://min-api.cryptocompare.com/");
    assert_eq!(settings.raw_topic, "cryptocompare-raw");
    assert_eq!(settings.subs, DEFAULT_SUBS);
    assert_eq!(settings.history, [Unit::Minute, Unit::Hour, Unit::Day]);
    assert_eq!(settings.linger, Duration::from_millis(5));
    assert_eq!(settings.rules.reconnect.floor, Duration::from_secs(5));
}

#[test]
fn wrong_values_are_refused_by_name_with_exit_code_2() {
    for args in [
        ["--brokers", ""],
        ["--brokers", "a:9092,,b:9092"],
        ["--brokers", "host:port"],
        ["--brokers", "http://host:9092"],
        ["--brokers", "host:0"],
        ["--raw-topic", ""],
        ["--raw-topic", "a/b"],
        ["--subs", "BTC~USD"],
        ["--subs", "0~Coinbase~BTC USD"],
        ["--subs", "0~Coinbase~BTC~USD,"],
        ["--subs", "0~~BTC~USD"],
        ["--history", "weeks"],
        ["--history", ""],
        ["--history-limit", "0"],
        ["--history-limit", "2001"],
        ["--linger", "-1"],
        ["--linger", "soon"],
    ] {
        let error = parse(&args).expect_err(&format!("{args:?}"));
        assert!(error.to_string().contains(args[0]), "{args:?}: {error}");
        assert_eq!(error.exit_code(), 2, "{args:?}");
    }
}

#[test]
fn wrong_addresses_are_refused_by_name_and_not_repeated() {
    for args in [
        ["--ws-url", "https://hunter2.example.org"],
        ["--ws-url", "hunter2.example.org"],
        ["--ws-url", "wss://streamer.example.org/v2?api_key=hunter2"],
        ["--rest-url", "wss://hunter2.example.org"],
        ["--rest-url", "https://user:hunter2@example.org"],
    ] {
        let error = check(&args).expect_err(&format!("{args:?}"));
        assert_eq!(error.exit_code(), 2, "{args:?}");
        let text = error.to_string();
        assert!(text.starts_with(args[0]) && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn right_values_are_taken() {
    let settings = check(&[
        "--brokers=a, b:19092,[::1]:9093,[::1]",
        "--ws-url=ws://127.0.0.1:8000/v2",
        "--history=day,minute,day",
        "--subs=0~Coinbase~BTC~USD,24~CCCAGG~BTC~USD~m,0~Coinbase~BTC~USD,11~BTC",
    ])
    .unwrap();
    assert_eq!(settings.brokers, ["a:9092", "b:19092", "[::1]:9093", "[::1]:9092"]);
    assert_eq!(settings.history, [Unit::Day, Unit::Minute]);
    assert_eq!(settings.subs, ["0~Coinbase~BTC~USD", "24~CCCAGG~BTC~USD~m", "11~BTC"]);
    assert_eq!(check(&["--history=none"]).unwrap().history, []);
}

#[test]
fn a_file_of_subs_replaces_the_defaults_and_adds_to_the_flag() {
    let subs = file("# trades\n0~Kraken~BTC~EUR\n\n  0~Kraken~ETH~EUR  \n");
    let path = subs.path().to_str().unwrap();
    let settings = check(&["--subs-file", path]).unwrap();
    assert_eq!(settings.subs, ["0~Kraken~BTC~EUR", "0~Kraken~ETH~EUR"]);
    let settings = check(&["--subs-file", path, "--subs", "11~BTC,0~Kraken~ETH~EUR"]).unwrap();
    assert_eq!(settings.subs, ["11~BTC", "0~Kraken~ETH~EUR", "0~Kraken~BTC~EUR"]);

    for (text, problem) in
        [("0~A~B~C\nnonsense\n", "line 2"), ("# nothing\n", "no sub"), ("\u{1}", "line 1")]
    {
        let subs = file(text);
        let error = check(&["--subs-file", subs.path().to_str().unwrap()]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let error = error.to_string();
        assert!(error.starts_with("--subs-file") && error.contains(problem), "{error}");
    }
}

#[test]
fn the_key_comes_from_the_variable_or_a_file_and_a_missing_one_is_named() {
    let sent = |settings: Settings| settings.api_key.authorization().as_bytes().to_vec();
    assert_eq!(sent(check(&[]).unwrap()), b"Apikey s3cret");
    let key = file("from-file\n");
    let path = key.path().to_str().unwrap();
    assert_eq!(sent(check(&["--api-key-file", path]).unwrap()), b"Apikey from-file");

    for (variable, args) in [(None, vec![]), (Some(" "), vec![]), (Some("two words"), vec![])] {
        let error = parse(&args).unwrap().check(variable).unwrap_err();
        assert!(error.to_string().contains(API_KEY), "{error}");
        assert!(!error.to_string().contains("two words"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    let empty = file("\n");
    let error = check(&["--api-key-file", empty.path().to_str().unwrap()]).unwrap_err();
    assert!(error.to_string().starts_with("--api-key-file"), "{error}");
    let error = check(&["--api-key-file", "/no/such/file"]).unwrap_err().to_string();
    assert!(error.contains("/no/such/file"), "{error}");
}

#[test]
fn no_printing_shows_the_key() {
    let settings = check(&[]).unwrap();
    assert!(!format!("{settings} {settings:?}").contains("s3cret"));
}

#[test]
fn help_names_every_variable_and_no_value_from_the_environment() {
    let mut command = Args::command();
    command.clone().debug_assert();
    let help = command.render_long_help().to_string();
    for argument in command.get_arguments().filter(|argument| argument.get_env().is_some()) {
        let variable = argument.get_env().unwrap().to_str().unwrap();
        assert!(help.contains(variable), "{variable}");
        assert!(argument.is_hide_env_values_set(), "{variable}");
    }
    assert!(help.contains(API_KEY));
    assert_eq!(parse(&["--help"]).unwrap_err().kind(), ErrorKind::DisplayHelp);
}
