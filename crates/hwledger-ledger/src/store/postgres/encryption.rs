//! What keeps strangers out of a connection to another machine: TLS, and a certificate that was verified.
//!
//! The words are those of PostgreSQL's own programs (`sslmode`, `sslrootcert`), with a stricter meaning: what is encrypted
//! is verified too, as an encrypted connection to nobody knows whom protects little.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Bytes of a file of certificates at most.
const CERTIFICATES_BYTES_MAX: u64 = 4 << 20;

/// What the protocol is called within TLS (PostgreSQL 17, 55.2.8); servers before it do not ask.
const PROTOCOL: &[u8] = b"postgresql";

/// Whether a connection is encrypted, as its string says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Never.
    Never,
    /// As the server likes.
    Either,
    /// Always, and the server's certificate is verified.
    Verified,
}

/// What a connection string says of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// None where it says nothing.
    pub(super) mode: Option<Mode>,
    /// The file of the authorities that certificates must come from.
    pub(super) authorities: Option<String>,
}

impl Wanted {
    /// Takes note of one parameter; whether it was one of these.
    fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "sslmode" => {
                self.mode = Some(match value {
                    "disable" => Mode::Never,
                    "allow" | "prefer" => Mode::Either,
                    "require" | "verify-ca" | "verify-full" => Mode::Verified,
                    _ => return Err("its `sslmode` is none of those that PostgreSQL knows".to_owned()),
                });
            }
            // The word for those of the system, for which the list within this program stands.
            "sslrootcert" => self.authorities = Some(value.to_owned()).filter(|value| value != "system"),
            "sslcert" | "sslkey" | "sslpassword" | "sslcrl" | "sslcrldir" | "gssencmode" | "passfile" | "service" => {
                return Err(format!("`{name}` is not supported"));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes what a connection string says of TLS out of it; the rest is for the client's own reader, which knows less of
    /// these. What cannot be read here is left for that one to refuse.
    pub(super) fn take_from(text: &str) -> Result<(String, Self), String> {
        let mut wanted = Self::default();
        let is_address = text.starts_with("postgres://") || text.starts_with("postgresql://");
        let rest = if is_address { wanted.take_from_address(text)? } else { wanted.take_from_pairs(text)? };
        Ok((rest, wanted))
    }

    fn take_from_address(&mut self, text: &str) -> Result<String, String> {
        // Whatever stands before an @ may hold any character, as far as the client is concerned.
        let start = text.find('@').unwrap_or(0);
        let Some(question) = text[start..].find('?').map(|place| start + place) else { return Ok(text.to_owned()) };
        let (before, parameters) = (&text[..question], &text[question + 1..]);
        let mut rest = Vec::new();
        for parameter in parameters.split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else { return Ok(text.to_owned()) };
            if !self.take(&name, &value)? {
                rest.push(parameter);
            }
        }
        if rest.is_empty() { Ok(before.to_owned()) } else { Ok(format!("{before}?{}", rest.join("&"))) }
    }

    fn take_from_pairs(&mut self, text: &str) -> Result<String, String> {
        let mut rest = String::new();
        let mut left = text.trim_start();
        while !left.is_empty() {
            let Some((name, value, length)) = pair(left) else {
                rest.push_str(left);
                break;
            };
            if !self.take(&name, &value)? {
                rest.push_str(&left[..length]);
                rest.push(' ');
            }
            left = left[length..].trim_start();
        }
        Ok(rest)
    }

    /// What speaks TLS, and believes certificates of these authorities.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect, String> {
        let mut roots = RootCertStore::empty();
        match &self.authorities {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                let place = |error: &dyn std::fmt::Display| format!("`{path}`, its `sslrootcert`: {error}");
                let found = certificates(Path::new(path)).map_err(|error| place(&error))?;
                for certificate in found {
                    roots.add(certificate).map_err(|error| place(&error))?;
                }
                if roots.is_empty() {
                    return Err(place(&"it holds no certificate"));
                }
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| error.to_string())?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(MakeRustlsConnect::new(config))
    }
}

/// The certificates of a PEM file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(CERTIFICATES_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > CERTIFICATES_BYTES_MAX {
        return Err(format!("longer than the {CERTIFICATES_BYTES_MAX} bytes that it may have"));
    }
    CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// The first `name=value` of a string, with its length; `'` and `\` as PostgreSQL reads them.
fn pair(text: &str) -> Option<(String, String, usize)> {
    let name_end = text.find(|character: char| character == '=' || character.is_whitespace())?;
    let after = text[name_end..].trim_start().strip_prefix('=')?.trim_start();
    let start = text.len() - after.len();
    let is_quoted = after.starts_with('\'');
    let mut characters = after.char_indices().skip(usize::from(is_quoted));
    let mut value = String::new();
    while let Some((place, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            '\'' if is_quoted => return Some((text[..name_end].to_owned(), value, start + place + 1)),
            _ if !is_quoted && character.is_whitespace() => {
                return Some((text[..name_end].to_owned(), value, start + place));
            }
            _ => value.push(character),
        }
    }
    (!is_quoted).then(|| (text[..name_end].to_owned(), value, text.len()))
}

/// Text with its `%41` resolved.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let value = digit(rest.next())? * 16 + digit(rest.next())?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::{Mode, Wanted};

    #[track_caller]
    fn check(text: &str, rest: &str, mode: Option<Mode>, authorities: Option<&str>) {
        let wanted = Wanted { mode, authorities: authorities.map(str::to_owned) };
        assert_eq!(Wanted::take_from(text), Ok((rest.to_owned(), wanted)), "{text}");
    }

    #[test]
    fn what_concerns_encryption_is_taken_out_and_the_rest_is_left() {
        let verified = Some(Mode::Verified);
        check("host=a user=u", "host=a user=u ", None, None);
        check("host=a sslmode=verify-full user=u", "host=a user=u ", verified, None);
        check("sslmode = 'require' host = a", "host = a ", verified, None);
        check(r"sslrootcert='/a b/it\'s' host=a", "host=a ", None, Some("/a b/it's"));
        check(r"sslrootcert=/a\ b host=a", "host=a ", None, Some("/a b"));
        // A password that looks like another parameter is a password.
        check("password='sslmode=disable' host=a", "password='sslmode=disable' host=a ", None, None);
        check(r"password=x\ sslmode=disable sslmode=disable", r"password=x\ sslmode=disable ", Some(Mode::Never), None);
        check("sslrootcert=system sslmode=prefer", "", Some(Mode::Either), None);
        check("postgres://u:a?sslmode=disable@h/d", "postgres://u:a?sslmode=disable@h/d", None, None);
        check("postgresql://h/d?sslmode=verify-ca&port=1", "postgresql://h/d?port=1", verified, None);
        check("postgresql://h/d?sslrootcert=%2Fa%20b", "postgresql://h/d", None, Some("/a b"));
        // What cannot be read is left to the client's own reader, which refuses it.
        check("host=a password='open", "host=a password='open", None, None);
        check("host=a password", "host=a password", None, None);
        check("", "", None, None);
        for text in ["sslmode=maybe", "host=a sslcert=x", "postgres://h?sslmode="] {
            assert!(Wanted::take_from(text).is_err(), "{text}");
        }
    }

    #[test]
    fn files_without_certificates_are_refused() {
        let path = std::env::temp_dir().join(format!("hwledger-authorities-{}", std::process::id()));
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let authorities = Some(path.display().to_string());
            Wanted { mode: None, authorities }.connector().err().unwrap()
        };
        assert!(refused("nothing").contains("it holds no certificate"));
        assert!(refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").contains("sslrootcert"));
        assert!(refused("-----BEGIN CERTIFICATE-----\n").contains("sslrootcert"));
        std::fs::remove_file(&path).unwrap();
        let authorities = Some(path.display().to_string());
        assert!(Wanted { mode: None, authorities }.connector().is_err());
        assert!(Wanted::default().connector().is_ok());
    }
}
