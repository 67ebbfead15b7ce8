use std::cell::Cell;
use std::fs;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use super::names::MAX_TOPIC;
use super::*;
use crate::testing::Authority;

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    kafka: KafkaSettings,
    #[command(flatten)]
    prefix: PrefixSettings,
}

/// Without the environment of whoever runs the tests.
fn parse(args: &[&str]) -> Result<Program, clap::Error> {
    let command = Program::command().mut_args(|argument| argument.env(None::<&str>));
    let matches = command.try_get_matches_from([&["program"], args].concat())?;
    Program::from_arg_matches(&matches)
}

fn check(args: &[&str], password: Option<&str>) -> Result<Brokers, BadSetting> {
    parse(args).unwrap().kafka.check_with(password, |_| {})
}

#[test]
fn by_default_it_is_plain_text_on_this_machine() {
    let brokers = check(&[], None).unwrap();
    assert_eq!(brokers.addresses, ["localhost:9092"]);
    assert!(brokers.security.tls.is_none() && brokers.security.sasl.is_none());
}

#[test]
fn brokers_may_be_listed_with_spaces_and_without_a_port() {
    let brokers = check(&["--brokers=a, b:19092,[::1]:9093,[::1]"], None).unwrap();
    assert_eq!(brokers.addresses, ["a:9092", "b:19092", "[::1]:9093", "[::1]:9092"]);
}

#[test]
fn wrong_values_are_refused_by_name() {
    for args in [
        ["--brokers", ""],
        ["--brokers", "a:9092,,b:9092"],
        ["--brokers", "host:port"],
        ["--brokers", "http://host:9092"],
        ["--brokers", "host:0"],
        ["--brokers", "host:99999"],
        ["--kafka-sasl-mechanism", "GSSAPI"],
        ["--topic-prefix", "a/b"],
    ] {
        let error = parse(&args).expect_err(&format!("{args:?}")).to_string();
        assert!(error.contains(args[0]), "{args:?}: {error}");
    }
    let error = parse(&["--kafka-tls=perhaps"]).unwrap_err().to_string();
    assert!(error.contains("--kafka-tls"), "{error}");
}

#[test]
fn wrong_combinations_are_refused_by_name_and_no_secret_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (cert, key) = Authority::new().sign("client");
    let (cert, key) = (file("cert.pem", &cert), file("key.pem", &key));
    let empty = file("empty", "\n");
    let lines = file("lines", "hunter2\nhunter2\n");
    let plain = ["--kafka-sasl-mechanism=PLAIN", "--kafka-sasl-username=alice"];
    let password = Some("hunter2");
    for (args, password, name) in [
        (vec!["--kafka-ca-file", &cert], None, "--kafka-ca-file (KAFKA_CA_FILE)"),
        (vec!["--kafka-cert-file", &cert], None, "--kafka-cert-file (KAFKA_CERT_FILE)"),
        (vec!["--kafka-tls", "--kafka-cert-file", &cert], None, "--kafka-key-file"),
        (vec!["--kafka-tls", "--kafka-key-file", &key], None, "--kafka-cert-file"),
        (vec!["--kafka-tls", "--kafka-ca-file", &key], None, "--kafka-ca-file"),
        (vec!["--kafka-sasl-username", "alice"], None, "--kafka-sasl-username"),
        (vec![], password, "KAFKA_SASL_PASSWORD: given, but no mechanism"),
        (plain[..1].to_vec(), password, "--kafka-sasl-username"),
        (plain.to_vec(), None, "KAFKA_SASL_PASSWORD: not set"),
        (plain.to_vec(), Some(""), "KAFKA_SASL_PASSWORD: not set"),
        (plain.to_vec(), Some("hunter2\n"), "KAFKA_SASL_PASSWORD: it must be one line"),
        (
            [&plain[..], &["--kafka-sasl-password-file", "hunter2"]].concat(),
            None,
            "--kafka-sasl-password-file",
        ),
        (
            [&plain[..], &["--kafka-sasl-password-file", &empty]].concat(),
            None,
            "--kafka-sasl-password-file",
        ),
        (
            [&plain[..], &["--kafka-sasl-password-file", &lines]].concat(),
            None,
            "--kafka-sasl-password-file",
        ),
    ] {
        let error = check(&args, password).expect_err(&format!("{args:?}")).to_string();
        assert!(error.starts_with(name), "{args:?}: {error}");
        assert!(!error.contains("hunter2") && !error.contains('\n'), "{args:?}: {error}");
    }
}

#[test]
fn the_password_comes_from_a_file_else_from_the_variable_and_is_told_to_who_hides_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    fs::write(&path, "from a file\n").unwrap();
    let user = ["--kafka-sasl-mechanism=scram-sha-256", "--kafka-sasl-username=alice"];
    let file = format!("--kafka-sasl-password-file={}", path.display());
    for (args, expected) in [
        (user.to_vec(), "hunter2"),
        ([&user[..], &[&file]].concat(), "from a file"),
        ([&user[..], &["--kafka-sasl-password-file="]].concat(), "hunter2"),
    ] {
        let hidden = Cell::new(String::new());
        let settings = parse(&args).unwrap();
        let brokers = settings.kafka.check_with(Some("hunter2"), |it| hidden.set(it.to_owned()));
        let brokers = brokers.unwrap();
        assert_eq!(hidden.take(), expected);
        let shown = format!("{settings:?} {brokers:?} {brokers} {}", brokers.security);
        assert!(!shown.contains(expected), "{shown}");
        let sasl = brokers.security.sasl.unwrap();
        assert_eq!((sasl.mechanism, &*sasl.password), (Mechanism::ScramSha256, expected));
    }
}

#[test]
fn what_is_set_to_nothing_is_as_good_as_not_set() {
    let mut command = Program::command();
    let mut args = vec!["program".to_owned()];
    for argument in command.get_arguments() {
        let Some(variable) = argument.get_env().and_then(|name| name.to_str()) else {
            continue;
        };
        assert!(VARIABLES.contains(&variable) || variable == "KAFKA_BROKERS", "{variable}");
        if variable != "KAFKA_BROKERS" {
            args.push(format!("--{}=", argument.get_long().unwrap()));
        }
    }
    assert_eq!(args.len(), VARIABLES.len(), "all but the password's have a flag");
    let settings = Program::try_parse_from(args).unwrap();
    let security = settings.kafka.check_with(Some(""), |_| {}).unwrap().security;
    assert!(security.tls.is_none() && security.sasl.is_none());
    let help = command.render_long_help().to_string();
    assert!(VARIABLES.iter().all(|variable| help.contains(variable)), "{help}");
}

#[test]
fn tls_is_switched_on_and_off() {
    for (args, on) in [
        (vec!["--kafka-tls"], true),
        (vec!["--kafka-tls=true"], true),
        (vec!["--kafka-tls=false"], false),
    ] {
        assert_eq!(check(&args, None).unwrap().security.tls.is_some(), on, "{args:?}");
    }
}

#[test]
fn a_topic_that_is_named_stays_as_it_is_named() {
    let prefix = parse(&["--topic-prefix", "staging."]).unwrap().prefix;
    assert_eq!(prefix.name(None, "tick-data"), "staging.tick-data");
    assert_eq!(prefix.name(Some(&"ticks".to_owned()), "tick-data"), "ticks");
    assert_eq!(parse(&[]).unwrap().prefix.name(None, "tick-data"), "tick-data");
    assert!(prefix.name(None, &"x".repeat(40)).len() <= MAX_TOPIC);
}
