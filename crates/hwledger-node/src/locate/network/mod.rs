//! Models that are elsewhere: only what describes them is fetched, and remembered for a while.

mod address;
mod client;
mod fetcher;
mod hub;
mod registry;
mod remote_file;
mod store;
mod web;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

pub(crate) use address::Address;
pub(crate) use client::Outages;
pub use client::Token;
pub(crate) use hub::fetch_repository;
pub(crate) use registry::fetch_ollama;
pub(crate) use remote_file::{RemoteFile, RemoteReader};
pub(crate) use web::{HUB_HOSTS, Meaning, fetch_address, meaning};

use super::{LocateError, LocateOptions, bounded};
use client::Client;
use fetcher::Fetcher;
use store::Store;

/// Connecting takes longer only where there is no way.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// A call may last this many times the time-out of one answer: slow lines, not dead ones.
const CALL_TIMEOUTS: u32 = 10;
const CERTIFICATES_BYTES_MAX: u64 = 8 << 20;
const TOKEN_BYTES_MAX: u64 = 64 << 10;
pub(crate) const USER_AGENT: &str = concat!("hwledger/", env!("CARGO_PKG_VERSION"));

/// Fetches by `options`; the token goes to the configured hub and nowhere else.
fn fetcher(options: &LocateOptions) -> Result<Arc<Fetcher>, LocateError> {
    let endpoint = Address::parse(&options.hub_endpoint)?;
    let stored_token = || {
        let content = bounded::read(options.token_file.as_deref()?, TOKEN_BYTES_MAX).ok()?;
        Token::new(std::str::from_utf8(&content).ok()?)
    };
    let token = options.token.clone().or_else(stored_token).map(|token| (endpoint.origin(), token));
    let store = options.cache_directory.as_ref().map(|cache| Store::new(cache.join("network")));
    if let Some(store) = &store {
        store.prune();
    }
    Ok(Arc::new(Fetcher {
        client: Client::new(agent(options)?, token, options.outages.clone()),
        store,
        time_to_live: options.time_to_live,
        is_offline: options.is_offline,
        header_bytes_max: options.header_bytes_max,
        stale: Mutex::default(),
    }))
}

/// Whom a server's certificate must be signed by.
pub(crate) fn tls(options: &LocateOptions) -> Result<TlsConfig, LocateError> {
    let mut tls = TlsConfig::builder();
    if let Some(path) = &options.certificate_file {
        let content = bounded::read(path, CERTIFICATES_BYTES_MAX)?;
        let certificates = parse_pem(&content).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        });
        tls = tls.root_certs(RootCerts::from(certificates));
    }
    Ok(tls.build())
}

fn agent(options: &LocateOptions) -> Result<Agent, LocateError> {
    let config = Agent::config_builder()
        .tls_config(tls(options)?)
        .proxy(options.proxy.clone())
        .user_agent(USER_AGENT)
        // Redirects are followed by the client, which knows where the token may go.
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_resolve(Some(CONNECT_MAX.min(options.timeout)))
        .timeout_connect(Some(CONNECT_MAX.min(options.timeout)))
        .timeout_recv_response(Some(options.timeout))
        .timeout_per_read(Some(options.timeout))
        .timeout_per_call(Some(options.timeout.saturating_mul(CALL_TIMEOUTS)));
    Ok(config.build().new_agent())
}
