//! The same over HTTP/1.1, as a page asks.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::{Clients, PATIENCE, reported};

async fn open(it: &Clients, path: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(it.control.bound.http).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: mesh\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    BufReader::new(stream)
}

/// Status and body.
async fn get(it: &Clients, path: &str) -> (u16, String) {
    let mut text = String::new();
    let read = async { open(it, path).await.read_to_string(&mut text).await };
    tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn a_page_reads_what_meshctl_reads() {
    let it = reported().await;
    let (code, body) = get(&it, "/api/v1/stat?by=version&service=web&window=5s").await;
    assert_eq!(code, 200, "{body}");
    let stat: Value = serde_json::from_str(&body).unwrap();
    let row = &stat["rows"][1];
    assert_eq!((&row["namespace"], &row["version"]), (&"shop".into(), &"v1".into()));
    assert_eq!((&row["total"]["opened"], &row["open"]), (&113.into(), &11.into()));
    assert_eq!(row["total"]["failures"][0]["name"], "refused");
    assert_eq!(row["total"].get("passed"), None);

    let (code, body) = get(&it, "/api/v1/series?range=1m&points=60").await;
    let series: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &series["step_ms"]), (200, &1_000.into()));

    for (path, says) in [
        ("stat?by=colour", "service, edge"),
        ("stat?window=soon", "write 500ms"),
        ("stat?window=1ms", "1000 to 3600000"),
        ("series?points=9999", "1 to 1440"),
        ("stream?reporter=me", "source or destination"),
        ("stat?colour=red", "colour"),
    ] {
        let (code, body) = get(&it, &format!("/api/v1/{path}")).await;
        assert_eq!(code, 400, "{path}");
        assert!(body.contains(says), "{path}: {body}");
    }
    it.control.stop().await;
}

#[tokio::test]
async fn events_come_until_the_shutdown() {
    let it = reported().await;
    let mut stream = open(&it, "/api/v1/stream").await;
    let mut stats = 0;
    let two = async {
        while stats < 2 {
            let mut line = String::new();
            assert_ne!(stream.read_line(&mut line).await.unwrap(), 0);
            if let Some(data) = line.strip_prefix("data: ") {
                let stat: Value = serde_json::from_str(data).unwrap();
                assert_eq!(stat["rows"][0]["service"], "db");
                stats += 1;
            }
        }
    };
    tokio::time::timeout(PATIENCE, two).await.unwrap();
    // Ends although the stream is open.
    it.control.stop().await;
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
}
