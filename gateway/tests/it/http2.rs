//! HTTP/2 over TLS and without, beside HTTP/1.1, and the certificate.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use framewire_gateway::tls::{Certificate, TlsError};
use framewire_shared::testing::until;
use h2::client::{Builder, SendRequest};
use http_02::{Request, Response, Version};
use reqwest::{Client, Method};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::live::world::Wire;
use crate::support::{Gateway, User};

/// Writes a certificate for the loopback and its key; gives the certificate.
fn issue(folder: &Path) -> String {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("key.pem"), issued.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), issued.cert.pem()).unwrap();
    issued.cert.pem()
}

/// Begins to speak HTTP/2; the window is what the peer may send of each stream unasked.
async fn speak<T>(io: T, window: u32) -> SendRequest<Bytes>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) =
        Builder::new().initial_window_size(window).handshake::<_, Bytes>(io).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

async fn connect(gateway: &Gateway) -> TcpStream {
    let (_, address) = gateway.url.split_once("://").unwrap();
    TcpStream::connect(address).await.unwrap()
}

fn ask(gateway: &Gateway, user: &User<'_>, path: &str) -> Request<()> {
    let url = format!("{}{path}", gateway.url);
    let request = Request::get(url).version(Version::HTTP_2);
    request.header("authorization", format!("Bearer {}", user.token)).body(()).unwrap()
}

/// Reads to a word, and lets the peer send on meanwhile.
async fn read_to(response: &mut Response<h2::RecvStream>, word: &str) -> String {
    let mut text = String::new();
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while !text.contains(word) {
        let chunk = tokio::time::timeout_at(until, response.body_mut().data());
        let Some(chunk) = chunk.await.unwrap_or_else(|_| panic!("{word:?} within 20 s")) else {
            panic!("the stream ended without {word:?}: {text}");
        };
        let chunk = chunk.unwrap();
        response.body_mut().flow_control().release_capacity(chunk.len()).unwrap();
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    text
}

#[tokio::test]
async fn a_proxy_that_knows_speaks_http2_where_others_speak_http1() {
    let gateway = Gateway::start_with(|settings| settings.gateway.h2c = true).await;
    let user = gateway.user().await;
    user.get("/v1/jobs", 200).await;
    let mut client = speak(connect(&gateway).await, 65_535).await;
    // Many streams of one connection, each frame at once.
    let mut streams = Vec::new();
    for _ in 0..10 {
        client = client.ready().await.unwrap();
        let (response, _) = client.send_request(ask(&gateway, &user, "/v1/events"), true).unwrap();
        let mut response = response.await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert!(response.headers().get("connection").is_none());
        read_to(&mut response, "event: sync").await;
        streams.push(response);
    }
    user.job("a fox").await;
    for stream in &mut streams {
        read_to(stream, "event: queued").await;
    }
    gateway.shutdown.drain.cancel();
    for stream in &mut streams {
        read_to(stream, "event: bye").await;
        while let Some(rest) = stream.body_mut().data().await {
            assert!(rest.expect("a clean end").is_empty());
        }
    }
}

#[tokio::test]
async fn a_reader_over_http2_that_takes_nothing_is_ended_and_one_that_left_gives_its_place_back() {
    let gateway = Gateway::start_with(|settings| {
        settings.gateway.h2c = true;
        settings.gateway.streams_per_session_max = 2;
        settings.gateway.ping = Duration::from_secs(1);
    })
    .await;
    let user = gateway.user().await;
    let mut client = speak(connect(&gateway).await, 16_384).await;
    let request = ask(&gateway, &user, "/v1/events");
    let mut stalled = client.send_request(request, true).unwrap().0.await.unwrap();
    read_to(&mut stalled, "event: sync").await;
    let mut witness = user.ask(Method::GET, "/v1/events").send().await.unwrap();
    assert!(witness.chunk().await.unwrap().is_some());
    let mut wire = Wire::connect(&gateway.redis);
    let body = format!(r#"{{"pad":"{}"}}"#, "x".repeat(8_000));
    for v in 1..=200 {
        wire.append(&user.session(), "preview", "j", v, &body);
        let mut heard = 0;
        while heard < 8_000 {
            heard += witness.chunk().await.unwrap().expect("the witness goes on").len();
        }
    }
    // What it finally takes is one piece, and then it is told why.
    let text = read_to(&mut stalled, "event: bye").await;
    assert!(text.contains(r#""reason":"slow""#), "{}", &text[text.len() - 200..]);
    let seen: Vec<_> = text.match_indices(r#""v":"#).map(|(at, _)| &text[at + 4..at + 8]).collect();
    for (place, v) in seen.iter().enumerate() {
        assert!(v.starts_with(&format!("{},", place + 1)), "{v} at {place}");
    }
    assert!(seen.len() < 200, "it was not stalled");

    // A connection that breaks off is noticed by the next ping at the latest.
    let request = ask(&gateway, &user, "/v1/events");
    client = client.ready().await.unwrap();
    let mut leaving = client.send_request(request, true).unwrap().0.await.unwrap();
    read_to(&mut leaving, "event: sync").await;
    drop((leaving, stalled, client));
    until("the place of the reader that left", async || {
        let mut again = user.ask(Method::GET, "/v1/events").send().await.unwrap();
        let first = again.chunk().await.unwrap()?;
        String::from_utf8_lossy(&first).contains("event: sync").then_some(())
    })
    .await;
}

/// A gateway that speaks TLS, and who trusts its certificate.
async fn secure(folder: &Path) -> (Gateway, String) {
    let pem = issue(folder);
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let gateway = Gateway::start_with(|settings| {
        settings.gateway.tls_certificate = Some(certificate);
        settings.gateway.tls_key = Some(key);
    });
    let mut gateway = gateway.await;
    gateway.url = gateway.url.replace("http://127.0.0.1", "https://localhost");
    let trusted = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    gateway.http = Client::builder().tls_certs_only([trusted]).build().unwrap();
    (gateway, pem)
}

/// Connects over TLS; gives the connection and the protocol that was chosen.
async fn connect_securely(
    address: &str,
    pem: &str,
    protocols: &[&[u8]],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

#[tokio::test]
async fn over_tls_http2_and_http1_are_spoken_and_the_cookie_is_for_https_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, pem) = secure(folder.path()).await;
    let made = gateway.ask(Method::POST, "/v1/sessions").send().await.unwrap();
    assert!(made.headers()["set-cookie"].to_str().unwrap().contains("Secure"));
    let user = gateway.user().await;
    user.job("over HTTP/1.1").await;
    let address = gateway.url.strip_prefix("https://").unwrap();
    let io = connect_securely(address, &pem, &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(io.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = speak(io, 65_535).await;
    let request = ask(&gateway, &user, "/v1/events");
    let mut stream = client.send_request(request, true).unwrap().0.await.unwrap();
    read_to(&mut stream, "event: sync").await;
    user.job("a fox").await;
    read_to(&mut stream, "event: queued").await;
    let io = connect_securely(address, &pem, &[b"http/1.1"]).await.unwrap();
    assert_eq!(io.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_while_it_runs_and_a_broken_one_never() {
    let folder = tempfile::tempdir().unwrap();
    let first = issue(folder.path());
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let certificate = Certificate::read(&cert, &key).unwrap();
    let config = Arc::new(certificate.server().unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(config);
        while let Ok((io, _)) = listener.accept().await {
            drop(acceptor.accept(io).await);
        }
    });
    let stop = CancellationToken::new();
    tokio::spawn(certificate.clone().renew(Duration::from_millis(5), stop.clone()));
    connect_securely(&address, &first, &[]).await.unwrap();
    // A key of another pair: what is shown stays what it was.
    std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    for _ in 0..20 {
        connect_securely(&address, &first, &[]).await.unwrap();
    }
    let second = issue(folder.path());
    until("the renewed certificate", async || connect_securely(&address, &second, &[]).await.ok())
        .await;
    assert!(connect_securely(&address, &first, &[]).await.is_err());
    stop.cancel();
}

#[test]
fn files_that_are_no_pair_are_refused_by_name_and_without_their_content() {
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path());
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let said = |error: TlsError| {
        let text = error.to_string();
        assert!(text.contains(".pem"), "{text}");
    };
    said(Certificate::read(&folder.path().join("none.pem"), &key).unwrap_err());
    said(Certificate::read(&key, &key).unwrap_err());
    said(Certificate::read(&cert, &cert).unwrap_err());
    std::fs::write(&key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    said(Certificate::read(&cert, &key).unwrap_err());
}
