//! Checks against real servers.

use std::io;
use std::time::Duration;

use mesh_api::model::{Health, HttpProbe};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;

use super::*;

fn check(probe: Probe) -> HealthCheck {
    HealthCheck {
        probe,
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(30),
        healthy_threshold: 1,
        unhealthy_threshold: 1,
        initial: Health::Healthy,
        port: None,
        jitter_percent: 0,
    }
}

fn http(statuses: &[(u16, u16)]) -> HealthCheck {
    let host = Some("shop.example".to_owned());
    check(Probe::Http(HttpProbe { path: "/up?x=1".into(), host, statuses: statuses.to_vec() }))
}

fn grpc(service: &str) -> HealthCheck {
    check(Probe::Grpc { service: service.to_owned() })
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn text(address: SocketAddr, check: &HealthCheck) -> String {
    run(address, check, None).await.result.map_or_else(|f| f.to_string(), |()| "good".to_owned())
}

/// Answers one connection with fixed bytes; returns what it was asked.
async fn answer(listener: TcpListener, answer: &'static str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        asked.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    // Until the other side closes.
    drop(stream.read_to_end(&mut Vec::new()).await);
    String::from_utf8(asked).unwrap()
}

#[tokio::test]
async fn a_tcp_check_is_not_seen_by_the_application() {
    let (listener, address) = listen().await;
    for _ in 0..100 {
        assert_eq!(text(address, &check(Probe::Tcp)).await, "good");
    }
    let client = TcpStream::connect(address).await.unwrap();
    let (_, peer) = listener.accept().await.unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    let open = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{:04X}", address.port());
    // Local and remote address, state; 06 is TIME_WAIT.
    let waiting = open.lines().filter(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let ours = fields.next().is_some_and(|local| local.ends_with(&port))
            | fields.next().is_some_and(|remote| remote.ends_with(&port));
        ours && fields.next() == Some("06")
    });
    assert_eq!(waiting.count(), 0);
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let (listener, address) = listen().await;
    drop(listener);
    for check in [check(Probe::Tcp), http(&[(200, 299)]), grpc("")] {
        let outcome = run(address, &check, None).await;
        let failure = outcome.result.unwrap_err();
        assert_eq!(failure.kind(), Kind::Connect);
        assert_eq!(failure.to_string(), "connect: Connection refused");
    }
}

#[tokio::test]
async fn silence_ends_with_the_timeout() {
    // The kernel accepts, nobody answers.
    let (_listener, address) = listen().await;
    for check in [http(&[(200, 299)]), grpc("")] {
        let check = HealthCheck { timeout: Duration::from_millis(50), ..check };
        let outcome = run(address, &check, None).await;
        assert!(outcome.latency >= check.timeout);
        let failure = outcome.result.unwrap_err();
        assert_eq!(failure.kind(), Kind::Timeout);
        assert_eq!(failure.to_string(), "no answer within 50ms");
    }
}

#[tokio::test]
async fn the_status_decides() {
    for (status, statuses, expected) in [
        ("200 OK", vec![(200, 299)], "good"),
        ("503 Service Unavailable", vec![(200, 299)], "HTTP status 503"),
        ("503 Service Unavailable", vec![(200, 200), (500, 503)], "good"),
        ("301 Moved Permanently\r\nLocation: /other", vec![(200, 299)], "HTTP status 301"),
    ] {
        let (listener, address) = listen().await;
        // The length is a lie: nobody reads the body.
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: 1000000\r\n\r\n");
        let server = tokio::spawn(answer(listener, head.leak()));
        assert_eq!(text(address, &http(&statuses)).await, expected);
        let asked = server.await.unwrap().to_lowercase();
        assert!(asked.starts_with("get /up?x=1 http/1.1\r\n"), "{asked}");
        for header in ["host: shop.example", "connection: close", "user-agent: mesh-health/"] {
            assert!(asked.contains(header), "{asked}");
        }
    }
}

#[tokio::test]
async fn a_server_that_ends_the_connection_sees_an_ordinary_end() {
    const MOST: usize = 64 * 1024;
    for (head, body, orderly) in [
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\n", 3, true),
        ("HTTP/1.1 503 No\r\nConnection: Close\r\n\r\n", 20_000, true),
        ("HTTP/1.0 200 OK\r\n\r\n", 0, true),
        ("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", 0, true),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", 8 * MOST, false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 3, false),
    ] {
        let (listener, address) = listen().await;
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&vec![b'x'; body]).await?;
            if orderly {
                stream.shutdown().await?;
            }
            stream.read_to_end(&mut Vec::new()).await
        });
        let expected = if head.contains("503") { "HTTP status 503" } else { "good" };
        assert_eq!(text(address, &http(&[(200, 299)])).await, expected);
        assert_eq!(server.await.unwrap().is_ok(), orderly, "{head}");
    }
}

#[tokio::test]
async fn an_end_that_does_not_come_changes_nothing() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(answer(listener, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"));
    let check = HealthCheck { timeout: Duration::from_millis(500), ..http(&[(200, 299)]) };
    let begin = Instant::now();
    let outcome = run(address, &check, None).await;
    assert!(outcome.result.is_ok());
    assert!(begin.elapsed() >= check.timeout && outcome.latency < begin.elapsed());
    server.await.unwrap();
}

#[tokio::test]
async fn the_host_is_the_address_where_none_is_given() {
    let (listener, address) = listen().await;
    let probe = HttpProbe { path: "/".into(), host: None, statuses: vec![(204, 204)] };
    let server = tokio::spawn(answer(listener, "HTTP/1.1 204 No Content\r\n\r\n"));
    assert_eq!(text(address, &check(Probe::Http(probe))).await, "good");
    assert!(server.await.unwrap().contains(&format!("host: {address}\r\n")));
}

#[tokio::test]
async fn what_is_no_http_is_said() {
    for answer_text in ["SSH-2.0-OpenSSH_9.9\r\n\r\n", "HTTP/1.1 200 OK\r\nX: "] {
        let (listener, address) = listen().await;
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            drop(stream.read_u8().await);
            stream.write_all(answer_text.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            drop(stream.read_to_end(&mut Vec::new()).await);
        });
        let failure = run(address, &http(&[(200, 299)]), None).await.result.unwrap_err();
        assert_eq!(failure.kind(), Kind::Protocol);
        assert!(failure.to_string().starts_with("HTTP: "), "{failure}");
        server.await.unwrap();
    }
}

#[tokio::test]
async fn an_endless_head_is_given_up() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").await.unwrap();
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let failure = run(address, &http(&[(200, 299)]), None).await.result.unwrap_err();
    assert_eq!(failure.kind(), Kind::Protocol);
    server.await.unwrap();
}

#[tokio::test]
async fn grpc_services_say_whether_they_serve() {
    let (listener, address) = listen().await;
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("bad", tonic_health::ServingStatus::NotServing).await;
    let server = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(server);
    assert_eq!(text(address, &grpc("")).await, "good");
    assert_eq!(text(address, &grpc("bad")).await, "gRPC: NOT_SERVING");
    let unknown = text(address, &grpc("unknown")).await;
    assert!(unknown.starts_with("gRPC status NotFound: "), "{unknown}");
    server.abort();
}

#[tokio::test]
async fn what_is_no_grpc_is_said() {
    let (listener, address) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        drop(stream.read_to_end(&mut Vec::new()).await);
    });
    let failure = run(address, &grpc(""), None).await.result.unwrap_err();
    assert!(matches!(failure.kind(), Kind::Protocol | Kind::Status), "{failure:?}");
    assert!(failure.to_string().starts_with("gRPC"), "{failure}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_socket_that_cannot_be_prepared_says_nothing_about_the_endpoint() {
    let (_listener, address) = listen().await;
    let refuse = Prepare::new(|_| Err(io::Error::from_raw_os_error(12)));
    let outcome = run(address, &check(Probe::Tcp), Some(&refuse)).await;
    assert_eq!(outcome.result.unwrap_err().kind(), Kind::Local);
    let accept = Prepare::new(|fd| {
        SockRef::from(&fd).set_tcp_nodelay(true)?;
        Ok(())
    });
    assert!(run(address, &check(Probe::Tcp), Some(&accept)).await.result.is_ok());
}
