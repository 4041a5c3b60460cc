//! Web addresses: taken apart, joined, and shown without what may be secret in them.

use std::fmt;
use std::fmt::Write as _;

use ureq::http::Uri;

use crate::locate::LocateError;

/// Longer addresses than any server takes.
const ADDRESS_MAX: usize = 8 << 10;

/// An `http` or `https` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    uri: Uri,
}

/// Scheme, host and port: what may see a token, and what can be out of reach.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServerOrigin {
    is_secure: bool,
    pub(crate) host: String,
    port: u16,
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, LocateError> {
        let refused = |what: &str| LocateError::BadAddress { address: without_secrets(text), what: what.to_owned() };
        if text.len() > ADDRESS_MAX {
            return Err(refused("it is too long"));
        }
        let plain = text.split_once('#').map_or(text, |(front, _)| front);
        let uri: Uri = plain.parse().map_err(|_| refused("it is not a valid URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(refused("only http and https are fetched"));
        }
        let authority = uri.authority().ok_or_else(|| refused("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(refused("names and passwords in a URL are not sent"));
        }
        if authority.host().is_empty() {
            return Err(refused("it names no host"));
        }
        Ok(Self { uri })
    }

    pub(crate) fn origin(&self) -> ServerOrigin {
        let is_secure = self.is_secure();
        let port = self.uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        ServerOrigin { is_secure, host: self.uri.host().unwrap_or_default().to_ascii_lowercase(), port }
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    pub(crate) fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &str {
        self.uri.path()
    }

    /// The last part of the path, as written.
    pub(crate) fn file_name(&self) -> &str {
        self.path().rsplit_once('/').map_or(self.path(), |(_, name)| name)
    }

    /// The address in full, as it is sent.
    pub(crate) fn full(&self) -> String {
        self.uri.to_string()
    }

    /// The address that a redirect's `location` means.
    pub(crate) fn join(&self, location: &str) -> Result<Self, LocateError> {
        let scheme = self.uri.scheme_str().unwrap_or("https");
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        if location.contains("://") && !location.starts_with('/') {
            return Self::parse(location);
        }
        if location.starts_with("//") {
            return Self::parse(&format!("{scheme}:{location}"));
        }
        if location.starts_with('/') {
            return Self::parse(&format!("{scheme}://{authority}{location}"));
        }
        let directory = self.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        Self::parse(&format!("{scheme}://{authority}{directory}/{location}"))
    }

    /// The file `name` (percent-encoded here) beside this one, with the same query.
    pub(crate) fn sibling(&self, name: &str) -> Result<Self, LocateError> {
        let query = self.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        self.join(&format!("{}{query}", encode_path(name)))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&without_secrets(&self.uri.to_string()))
    }
}

/// An address without its query (signatures, tokens) and without a name and password.
fn without_secrets(text: &str) -> String {
    let front = text.split(['?', '#']).next().unwrap_or_default();
    let shown: String = front.chars().take(300).collect();
    match shown.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => shown,
    }
}

/// `path` with everything but letters, digits and `-._~/` percent-encoded.
pub(crate) fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The text that a percent-encoded `path` spells, where it is one.
pub(crate) fn decode_path(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let value = digit(rest.next())? * 16 + digit(rest.next())?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn what_is_no_web_address_is_refused() {
        let long = format!("https://a/{}", "x".repeat(ADDRESS_MAX));
        for text in [
            "",
            "a",
            "ftp://a/b",
            "file:///etc/passwd",
            "https://",
            "https:///b",
            "https://u:p@a/b",
            "http://a b/",
            &long,
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(address("https://a/b?X-Signature=s#f").to_string(), "https://a/b");
        let error = Address::parse("https://me:secret@a/b?token=t").unwrap_err();
        assert!(error.to_string().contains("https://a/b"), "{error}");
        assert!(!error.to_string().contains("secret") && !error.to_string().contains("token=t"), "{error}");
    }

    #[test]
    fn redirects_are_joined() {
        let from = address("https://a:8443/b/c?q=1");
        assert_eq!(from.join("/d").unwrap().full(), "https://a:8443/d");
        assert_eq!(from.join("d?r=2").unwrap().full(), "https://a:8443/b/d?r=2");
        assert_eq!(from.join("//e/f").unwrap().full(), "https://e/f");
        assert_eq!(from.join("http://g/h").unwrap().full(), "http://g/h");
        assert!(from.join("file:///etc/passwd").is_err());
        assert_eq!(from.sibling("x y.gguf").unwrap().full(), "https://a:8443/b/x%20y.gguf?q=1");
    }

    #[test]
    fn origins_compare_with_their_default_ports() {
        assert_eq!(address("https://A/x").origin(), address("https://a:443/y").origin());
        assert_ne!(address("https://a/").origin(), address("http://a/").origin());
        assert_ne!(address("http://a:1/").origin(), address("http://a:2/").origin());
    }

    #[test]
    fn paths_survive_encoding() {
        for path in ["a/b.gguf", "ä ö%2F", "a+b&c=d?e"] {
            assert_eq!(decode_path(&encode_path(path)).as_deref(), Some(path));
        }
        for broken in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(decode_path(broken), None, "{broken}");
        }
    }
}
