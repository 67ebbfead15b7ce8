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
    assert_eq!(settings.brokers.addresses, ["localhost:9092"]);
    assert_eq!(settings.ws_url.as_str(), "wss://streamer.cryptocompare.com/v2");
    assert_eq!(settings.rest_url.as_str(), "https://min-api.cryptocompare.com/");
    assert_eq!(settings.raw_topic, "cryptocompare-raw");
    assert_eq!(settings.subs, DEFAULT_SUBS);
    assert_eq!(settings.history, [Unit::Minute, Unit::Hour, Unit::Day]);
    assert_eq!(settings.linger, Duration::from_millis(5));
    assert_eq!(settings.rules.reconnect.floor, Duration::from_secs(5));
    assert_eq!((settings.sockets, settings.subs_per_socket, settings.capacity), (1, 600, 600));
    assert_eq!(settings.spool_bytes, 4 << 30);
    assert_eq!(settings.topics.reserved()[..3], ["control-topic", "control-replies", "gap-events"]);
    assert_eq!((settings.topics.replicas, settings.control), (-1, true));
    assert_eq!(settings.http, None);
    assert!(settings.name.ends_with("/tickpanda-source-state"), "{}", settings.name);
    assert!(settings.name.contains(":/"), "{}", settings.name);
}

#[test]
fn wrong_values_are_refused_by_name_with_exit_code_2() {
    for args in [
        ["--brokers", ""],
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
        ["--sockets", "0"],
        ["--subs-per-socket", "0"],
        ["--control-topic", "a b"],
        ["--gap-topic", ""],
        ["--replicas", "0"],
        ["--spool-bytes", "1MiB"],
        ["--spool-bytes", "much"],
        ["--spool-bytes", "99999999999TiB"],
        ["--name", "two\nlines"],
        ["--http-listen", "9191"],
        ["--ready-lag", "0"],
        ["--ready-silence", "never"],
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
        "--brokers=a, b:19092",
        "--ws-url=ws://127.0.0.1:8000/v2",
        "--history=day,minute,day",
        "--subs=0~Coinbase~BTC~USD,24~CCCAGG~BTC~USD~m,0~Coinbase~BTC~USD,11~BTC",
    ])
    .unwrap();
    assert_eq!(settings.brokers.addresses, ["a:9092", "b:19092"]);
    assert_eq!(settings.history, [Unit::Day, Unit::Minute]);
    assert_eq!(settings.subs, ["0~Coinbase~BTC~USD", "24~CCCAGG~BTC~USD~m", "11~BTC"]);
    assert_eq!(check(&["--history=none"]).unwrap().history, []);
    let settings = check(&[
        "--name=here",
        "--spool-bytes=64MiB",
        "--http-listen=127.0.0.1:0",
        "--replicas=3",
        "--no-control",
        "--ready-lag=5",
    ])
    .unwrap();
    assert_eq!((settings.name.as_str(), settings.spool_bytes), ("here", 64 << 20));
    assert_eq!(settings.http, Some("127.0.0.1:0".parse().unwrap()));
    assert_eq!((settings.topics.replicas, settings.control), (3, false));
    assert_eq!(settings.ready.lag, Duration::from_secs(5));
    assert_eq!(check(&["--http-listen="]).unwrap().http, None);
}

#[test]
fn more_subs_than_the_sockets_take_are_refused_by_name() {
    let subs = file(&(0..601).map(|n| format!("0~M~C{n}~USD\n")).collect::<String>());
    let path = subs.path().to_str().unwrap();
    let error = check(&["--subs-file", path]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert_eq!(
        error.to_string(),
        "--subs: 601 subs, and 600 are the most for 1 keys with 1 sockets each (--sockets) of 600 subs (--subs-per-socket)"
    );
    assert_eq!(check(&["--subs-file", path, "--sockets", "2"]).unwrap().capacity, 1200);
    let two = parse(&["--subs-file", path]).unwrap().check(Some("one,two")).unwrap();
    assert_eq!((two.subs.len(), two.capacity), (601, 1200));
}

#[test]
fn topics_must_differ_from_each_other() {
    for (args, name) in [
        (vec!["--gap-topic", "control-topic"], "--gap-topic: control-topic is --control-topic"),
        (vec!["--raw-topic", "gap-events"], "--gap-topic: gap-events is --raw-topic"),
    ] {
        let error = check(&args).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().starts_with(name), "{error}");
    }
}

#[test]
fn every_topic_that_is_not_named_gets_the_prefix() {
    let settings = check(&["--topic-prefix=staging.", "--gap-topic=holes"]).unwrap();
    assert_eq!(settings.raw_topic, "staging.cryptocompare-raw");
    assert_eq!(
        settings.topics.reserved(),
        [
            "staging.control-topic",
            "staging.control-replies",
            "holes",
            "staging.tick-data",
            "staging.ohlcv-data",
            "staging.dead-letter"
        ]
    );
}

#[test]
fn several_keys_come_from_the_variable_or_from_a_file_each_once_and_none_is_shown() {
    let sent = |settings: &Settings| -> Vec<String> {
        let keys = settings.api_keys.iter();
        keys.map(|key| String::from_utf8(key.authorization().as_bytes().to_vec()).unwrap())
            .collect()
    };
    let settings = parse(&[]).unwrap().check(Some("k1, k2,,k1,")).unwrap();
    assert_eq!(sent(&settings), ["Apikey k1", "Apikey k2"]);
    assert_eq!(settings.api_key, settings.api_keys[0]);
    let keys = file("# mine\nk1\n\n k3 \n");
    let settings = check(&["--api-key-file", keys.path().to_str().unwrap()]).unwrap();
    assert_eq!(sent(&settings), ["Apikey k1", "Apikey k3"]);
    assert_eq!(sent(&check(&["--api-key-file", ""]).unwrap()), ["Apikey s3cret"]);

    let many = (0..17).map(|n| format!("k{n}")).collect::<Vec<_>>().join(",");
    for (bad, why) in [("hunter2,two words", "key 2 is not usable"), (&many, "17 keys")] {
        let error = parse(&[]).unwrap().check(Some(bad)).unwrap_err().to_string();
        assert!(error.starts_with(API_KEY) && error.contains(why), "{error}");
        assert!(!error.contains("hunter2") && !error.contains("two"), "{error}");
    }
    // The key in the place of its file, or as a flag that there is none of.
    let key = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let error = check(&["--api-key-file", key]).unwrap_err().to_string();
    assert!(error.starts_with("--api-key-file") && !error.contains(key), "{error}");
    let error = parse(&[&format!("--api-key={key}")]).unwrap_err().to_string();
    assert!(!error.contains(key), "{error}");
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
