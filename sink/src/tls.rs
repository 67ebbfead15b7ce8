//! TLS to the database: settings, and what the driver would take without a word but not do.
//!
//! | mode | encrypted | the server's certificate |
//! |---|---|---|
//! | `disable` | no | – |
//! | `prefer` (default) | where the server can | not looked at |
//! | `require` | yes, or an error | not looked at; with a root certificate as `verify-ca` |
//! | `verify-ca` | yes | signed by the root certificate or by a public authority |
//! | `verify-full` | yes | the same, and made out to the host's name |
//!
//! sqlx 0.9.0 trusts the public authorities (webpki-roots) besides the root certificate given, so
//! `verify-ca` without the name keeps out nobody who has any public certificate: `verify-full` is the
//! mode to use. It ignores a root certificate in the mode `require`, where libpq verifies; here it
//! is `verify-ca` then. It would read a file without a certificate as no root at all, and take a file
//! that is not there for an outage: both are wrong settings here.

use clap::builder::{OsStringValueParser, TypedValueParser};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum as _;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::error::SinkError;

/// How much TLS to the database; see the table in the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS where the server can, whoever it is.
    Prefer,
    /// TLS, whoever the server is (with a root certificate: as verify-ca).
    Require,
    /// TLS, with a certificate that the root certificate or a public authority signed.
    VerifyCa,
    /// The same, made out to the host's name.
    VerifyFull,
}

impl From<SslMode> for PgSslMode {
    fn from(mode: SslMode) -> Self {
        match mode {
            SslMode::Disable => PgSslMode::Disable,
            SslMode::Prefer => PgSslMode::Prefer,
            SslMode::Require => PgSslMode::Require,
            SslMode::VerifyCa => PgSslMode::VerifyCa,
            SslMode::VerifyFull => PgSslMode::VerifyFull,
        }
    }
}

/// A mode, or an empty text, which is as good as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(Option<SslMode>);

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Mode(None));
        }
        let mode = SslMode::from_str(text, false);
        mode.map(|mode| Mode(Some(mode)))
            .map_err(|_| "one of disable, prefer, require, verify-ca, verify-full")
    }
}

// No doc comment: clap would show it as the whole program's description.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "TLS to the database")]
#[allow(missing_docs)]
pub struct TlsSettings {
    /// How much TLS: disable, prefer, require, verify-ca or verify-full. Counts also over DATABASE_URL,
    /// whose own sslmode it overrules; without either it is prefer.
    #[arg(long, env = "TIMESCALEDB_SSLMODE", value_name = "MODE")]
    pub timescaledb_sslmode: Option<Mode>,
    /// PEM file with the authority that signed the database's certificate.
    #[arg(long, env = "TIMESCALEDB_SSLROOTCERT", value_name = "FILE", value_parser = file())]
    pub timescaledb_sslrootcert: Option<PathBuf>,
    /// PEM file with our own certificate, where the database asks for one.
    #[arg(long, env = "TIMESCALEDB_SSLCERT", value_name = "FILE", value_parser = file())]
    pub timescaledb_sslcert: Option<PathBuf>,
    /// PEM file with our own certificate's private key.
    #[arg(long, env = "TIMESCALEDB_SSLKEY", value_name = "FILE", value_parser = file())]
    pub timescaledb_sslkey: Option<PathBuf>,
}

/// A path, of which an empty one is as good as none: clap's own parser refuses that, and then a variable
/// could not be taken back.
fn file() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

impl TlsSettings {
    /// Adds what is set here to what a URL or the environment says, and checks the whole.
    ///
    /// # Errors
    /// [`SinkError::Setting`] for files that can't be used, and for what contradicts itself.
    pub(crate) fn apply(
        &self,
        mut options: PgConnectOptions,
    ) -> Result<PgConnectOptions, SinkError> {
        let file =
            |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        if let Some(Mode(Some(mode))) = self.timescaledb_sslmode {
            options = options.ssl_mode(mode.into());
        }
        if let Some(path) = file(&self.timescaledb_sslrootcert) {
            options = options.ssl_root_cert(path);
        }
        if let Some(path) = file(&self.timescaledb_sslcert) {
            options = options.ssl_client_cert(path);
        }
        if let Some(path) = file(&self.timescaledb_sslkey) {
            options = options.ssl_client_key(path);
        }
        let files = Files::of(&options);
        check(&files.root, ROOT, "-----BEGIN CERTIFICATE-----")?;
        check(&files.cert, CERT, "-----BEGIN CERTIFICATE-----")?;
        check(&files.key, KEY, "PRIVATE KEY-----")?;
        if files.cert.is_some() != files.key.is_some() {
            let problem =
                "a certificate of our own needs its private key, and the key its certificate";
            return Err(wrong(if files.cert.is_some() { KEY } else { CERT }, problem));
        }
        if files.root.is_some() {
            match options.get_ssl_mode() {
                PgSslMode::Require => options = options.ssl_mode(PgSslMode::VerifyCa),
                PgSslMode::VerifyCa | PgSslMode::VerifyFull => {}
                PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer => {
                    let problem = "a root certificate is given, but nothing is verified in this mode: \
                                   use verify-full";
                    return Err(wrong("TIMESCALEDB_SSLMODE", problem));
                }
            }
        }
        Ok(options)
    }
}

const ROOT: &str = "TIMESCALEDB_SSLROOTCERT";
const CERT: &str = "TIMESCALEDB_SSLCERT";
const KEY: &str = "TIMESCALEDB_SSLKEY";

/// What the driver was told to read, wherever it was told so.
#[derive(Default)]
struct Files {
    root: Option<String>,
    cert: Option<String>,
    key: Option<String>,
}

impl Files {
    /// The driver shows them only in the URL that it makes of its options.
    fn of(options: &PgConnectOptions) -> Self {
        let mut files = Files::default();
        for (name, value) in options.to_url_lossy().query_pairs() {
            match &*name {
                "sslrootcert" => files.root = Some(value.into_owned()),
                "sslcert" => files.cert = Some(value.into_owned()),
                "sslkey" => files.key = Some(value.into_owned()),
                _ => {}
            }
        }
        files
    }
}

/// Whether a file can be read and holds what it shall; PEM text in place of a file's name is taken
/// as it is. The key's bytes are looked at and dropped.
fn check(given: &Option<String>, name: &'static str, marker: &str) -> Result<(), SinkError> {
    let Some(path) = given.as_deref().and_then(|given| given.strip_prefix("file: ")) else {
        return Ok(());
    };
    let bytes = fs::read(Path::new(path))
        .map_err(|error| wrong(name, &format!("cannot read {path}: {error}")))?;
    let found = bytes.windows(marker.len()).any(|window| window == marker.as_bytes());
    if !found {
        return Err(wrong(name, &format!("{path} holds no PEM block like `{marker}`")));
    }
    Ok(())
}

fn wrong(name: &'static str, problem: &str) -> SinkError {
    SinkError::Setting { name, problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use clap::Parser as _;

    fn database(args: &[&str]) -> Result<PgConnectOptions, SinkError> {
        let args = std::iter::once(&"tickpanda-sink").chain(args);
        Settings::try_parse_from(args).map_err(|error| error.to_string()).unwrap().database()
    }

    fn mode(args: &[&str]) -> String {
        format!("{:?}", database(args).unwrap().get_ssl_mode())
    }

    #[test]
    fn the_mode_comes_from_the_flag_then_from_the_url() {
        let url = ["--database-url", "postgres://u@h/d?sslmode=require"];
        assert_eq!(mode(&url), "Require");
        assert_eq!(
            mode(&[&url[..], &["--timescaledb-sslmode", "verify-full"]].concat()),
            "VerifyFull"
        );
        assert_eq!(mode(&["--timescaledb-sslmode", "verify-ca"]), "VerifyCa");
        assert_eq!(mode(&[&url[..], &["--timescaledb-sslmode", ""]].concat()), "Require");
        let wrong = ["sink", "--timescaledb-sslmode", "verify"];
        let error = Settings::try_parse_from(wrong).unwrap_err().to_string();
        assert!(
            error.contains("--timescaledb-sslmode") && error.contains("verify-full"),
            "{error}"
        );
    }

    #[test]
    fn a_root_certificate_is_never_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root.pem");
        fs::write(&root, "-----BEGIN CERTIFICATE-----\n").unwrap();
        let root = root.to_str().unwrap();
        let with = |mode: &str| {
            database(&["--timescaledb-sslmode", mode, "--timescaledb-sslrootcert", root])
        };
        assert!(matches!(with("require").unwrap().get_ssl_mode(), PgSslMode::VerifyCa));
        assert!(matches!(with("verify-full").unwrap().get_ssl_mode(), PgSslMode::VerifyFull));
        for mode in ["disable", "prefer"] {
            let error = with(mode).unwrap_err();
            assert!(error.to_string().starts_with("TIMESCALEDB_SSLMODE"), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
        let url = format!("postgres://u@h/d?sslmode=require&sslrootcert={root}");
        assert_eq!(mode(&["--database-url", &url]), "VerifyCa");
    }

    #[test]
    fn files_that_cannot_be_used_are_refused_by_name_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other.pem");
        fs::write(&other, "hunter2").unwrap();
        let other = other.to_str().unwrap();
        for (flag, name) in [
            ("--timescaledb-sslrootcert", "TIMESCALEDB_SSLROOTCERT"),
            ("--timescaledb-sslcert", "TIMESCALEDB_SSLCERT"),
            ("--timescaledb-sslkey", "TIMESCALEDB_SSLKEY"),
        ] {
            for path in ["/no/such/file", other] {
                let error = database(&["--timescaledb-sslmode", "verify-full", flag, path]);
                let error = error.unwrap_err().to_string();
                assert!(error.starts_with(name) && error.contains(path), "{error}");
                assert!(!error.contains("hunter2"), "{error}");
            }
        }
        let url = "postgres://u@h/d?sslmode=verify-full&sslrootcert=/no/such/file";
        let error = database(&["--database-url", url]).unwrap_err().to_string();
        assert!(error.contains("/no/such/file"), "{error}");
    }

    #[test]
    fn a_certificate_of_our_own_comes_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("both.pem");
        fs::write(&file, "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n").unwrap();
        let file = file.to_str().unwrap();
        let with = |flag: &str| database(&["--timescaledb-sslmode", "verify-full", flag, file]);
        assert!(with("--timescaledb-sslcert").unwrap_err().to_string().starts_with(KEY));
        assert!(with("--timescaledb-sslkey").unwrap_err().to_string().starts_with(CERT));
    }
}
