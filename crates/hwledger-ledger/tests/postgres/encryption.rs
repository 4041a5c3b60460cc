//! A server that is reached over a network: only through TLS, and only where its certificate was verified.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use hwledger_ledger::store::postgres::{Address, PostgresLedger, PostgresPlaces, Reader, Transport};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::place::{ORIGIN, Place, draft};

/// What the certificate calls the server.
const HOST: &str = "ledger.example";

/// What must be in no message.
const PASSWORD: &str = "open-sesame";

/// Somebody who signs certificates.
fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// The server of the tests with a certificate, until this is dropped.
struct Encrypted<'a>(&'a Place);

impl<'a> Encrypted<'a> {
    fn begin(place: &'a Place, authority: &CertifiedIssuer<'static, KeyPair>) -> Self {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new([HOST.to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, authority).unwrap();
        // The server reads a key only where it is its own, and nobody else's.
        let owner = std::fs::metadata(place.setting("data_directory")).unwrap();
        let write = |name: &str, text: &str| -> PathBuf {
            let path = place.folder.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
            path
        };
        let files = [write("server.crt", &certificate.pem()), write("server.key", &key.serialize_pem())];
        place.on_server(&format!("ALTER SYSTEM SET ssl_cert_file = '{}'", files[0].display()));
        place.on_server(&format!("ALTER SYSTEM SET ssl_key_file = '{}'", files[1].display()));
        let encrypted = Self(place);
        encrypted.switch("on");
        encrypted
    }

    fn switch(&self, to: &str) {
        self.0.on_server(&format!("ALTER SYSTEM SET ssl = {to}"));
        self.0.on_server("SELECT pg_reload_conf()");
        while self.0.setting("ssl") != to {
            std::thread::yield_now();
        }
    }
}

impl Drop for Encrypted<'_> {
    fn drop(&mut self) {
        self.switch("off");
    }
}

/// A connection over TCP to a server of that name, as another machine would make it.
fn text(place: &Place, host: &str, more: &str) -> String {
    let (port, database) = (place.setting("port"), &place.database);
    let user = "user='hwledger program'";
    format!("host={host} hostaddr=127.0.0.1 port={port} {user} dbname={database} password={PASSWORD} {more}")
}

#[track_caller]
fn refused(text: &str, why: &str) {
    let address = Address::parse(text, Transport::Verified).unwrap();
    assert!(address.is_encrypted());
    let error = Reader::open(&address).unwrap_err();
    let told = format!("{error} {error:?} {:?}", error.hint());
    assert!(told.contains(why) && !told.contains(PASSWORD), "{told}");
}

fn write(path: &Path, authority: &CertifiedIssuer<'static, KeyPair>) -> String {
    std::fs::write(path, authority.pem()).unwrap();
    path.display().to_string()
}

#[test]
fn a_server_is_believed_for_its_certificate_and_nothing_else() {
    let Some(place) = Place::new() else { return };
    if place.setting("listen_addresses").is_empty() {
        eprintln!("skipped: the server listens on no address");
        return;
    }
    place.on_server(&format!("ALTER ROLE \"hwledger program\" PASSWORD '{PASSWORD}'"));
    let (own, other) = (authority("one"), authority("another"));
    let own_file = write(&place.folder.join("own.pem"), &own);
    let other_file = write(&place.folder.join("other.pem"), &other);
    let right = text(&place, HOST, &format!("sslmode=verify-full sslrootcert={own_file}"));

    // A server that speaks in the clear gets neither a password nor an event.
    refused(&right, "server does not support TLS");

    let encrypted = Encrypted::begin(&place, &own);
    let address = Address::parse(&right, Transport::Verified).unwrap();
    let places = PostgresPlaces { address: address.clone(), signer: Some(place.signer()) };
    let ledger = PostgresLedger::create(&places, ORIGIN, None).unwrap();
    assert!(ledger.append(&draft(1)).unwrap().is_new);
    let count = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl)
                 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                 WHERE application_name = 'hwledger' AND datname = $1";
    let row = place.superuser().query_one(count, &[&place.database]).unwrap();
    assert!(row.get::<_, i64>(0) >= 3 && row.get::<_, i64>(1) == 0, "{row:?}");
    assert_eq!(Reader::open(&address).unwrap().size().unwrap(), 2);
    drop(ledger);

    // Another name than the certificate's.
    refused(&text(&place, "other.example", &format!("sslmode=verify-full sslrootcert={own_file}")), "NotValidForName");
    // Somebody else's signature; weaker words are no way around it.
    for mode in ["require", "verify-ca", "verify-full"] {
        refused(&text(&place, HOST, &format!("sslmode={mode} sslrootcert={other_file}")), "UnknownIssuer");
    }
    // The public authorities have not signed it either, and the hint says what to do.
    refused(&text(&place, HOST, "sslmode=verify-full"), "`sslrootcert=FILE` names the certificate");
    // A wrong password is not told, and neither is a right one.
    let wrong = right.replace(PASSWORD, "wrong-sesame");
    refused(&wrong, "password authentication failed");
    assert!(!format!("{:?}", Reader::open(&Address::parse(&wrong, Transport::Verified).unwrap())).contains("sesame"));

    drop(encrypted);
    refused(&right, "server does not support TLS");
}
