//! What is printed of clients, to the letter.

use super::*;

const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const LDS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

fn of_type(type_url: &str, state: wire::SyncState, since_ms: u64) -> wire::TypeStatus {
    wire::TypeStatus {
        type_url: type_url.to_owned(),
        state: state.into(),
        since_ms,
        sent_revision: 12,
        acked_revision: 11,
        resources: 3,
    }
}

fn response() -> wire::StatusResponse {
    use wire::SyncState::{NotSent, Rejected, Synced};
    let client = |kind: wire::ClientKind, id: &str, types| wire::ClientStatus {
        kind: kind.into(),
        id: id.to_owned(),
        version: "1.2".to_owned(),
        connected: true,
        since_ms: 61_000,
        types,
        ..wire::ClientStatus::default()
    };
    let refused = wire::RefusedResource {
        type_url: CDS.to_owned(),
        name: "shop/web:80".to_owned(),
        revision: 12,
        message: "no such policy".to_owned(),
    };
    let good = vec![of_type(CDS, Synced, 9000), of_type(LDS, Synced, 4000)];
    let bad = vec![of_type(CDS, Rejected, 5000), of_type(LDS, NotSent, 0)];
    let envoy = wire::ClientStatus {
        node: "n1".to_owned(),
        refused: vec![refused],
        ..client(wire::ClientKind::Envoy, "envoy~n1", bad)
    };
    let away = wire::ClientStatus {
        connected: false,
        ..client(wire::ClientKind::Envoy, "envoy~n2", good.clone())
    };
    let node = wire::NodeStatus {
        node: "n1".to_owned(),
        version: "0.1.0".to_owned(),
        connected: true,
        live_revision: 11,
        live_age_ms: 3000,
        sent_revision: 12,
        ..wire::NodeStatus::default()
    };
    wire::StatusResponse {
        revision: 12,
        nodes: vec![node],
        clients: vec![envoy, away, client(wire::ClientKind::Grpc, "app", good)],
        ..wire::StatusResponse::default()
    }
}

#[test]
fn every_client_has_a_row() {
    assert_eq!(
        table(&Row::all(response()), false, Style::PLAIN),
        "\
KIND    ID         NODE   STATE      CDS        EDS   LDS        RDS   FOR    VERSION
agent   n1         n1     STALE      -          -     -          -     3s     0.1.0
envoy   envoy~n1   n1     REJECTED   REJECTED   -     NOT SENT   -     5s     1.2
envoy   envoy~n2   -      AWAY       SYNCED     -     SYNCED     -     1m1s   1.2
grpc    app        -      SYNCED     SYNCED     -     SYNCED     -     4s     1.2

envoy envoy~n1 rejects revision 12: CDS shop/web:80: no such policy
"
    );
}

#[test]
fn one_client_is_shown_with_what_it_refuses() {
    let found = find(Row::all(response()), "envoy~n1").expect("it is there");
    assert_eq!(found.len(), 1);
    assert_eq!(
        detail(&found[0], Style::PLAIN),
        "\
Kind:        envoy
ID:          envoy~n1
Node:        n1
Version:     1.2
Connected:   yes, for 1m1s
State:       REJECTED

TYPE   STATE      FOR   RESOURCES   SENT   ACKED
CDS    REJECTED   5s    3           12     11
LDS    NOT SENT   -     3           12     11

Refused; the form before is still served:
  CDS shop/web:80, revision 12: no such policy
"
    );
}

#[test]
fn a_client_is_found_by_its_id_or_its_node() {
    let find = |id: &str| -> Vec<String> {
        let found = find(Row::all(response()), id).unwrap_or_default();
        found.iter().map(Row::name).collect()
    };
    assert_eq!(find("app"), ["grpc/app"]);
    assert_eq!(find("n1"), ["agent/n1"]);
    assert_eq!(find("n3"), [""; 0]);
    let json = serde_json::to_value(Row::all(response())).expect("JSON");
    assert_eq!(json[1]["state"], "REJECTED");
    assert_eq!(json[1]["types"][1]["state"], "NOT_SENT");
    assert_eq!(json[1]["refused"][0]["message"], "no such policy");
}
