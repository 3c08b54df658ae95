//! `grpc-bootstrap`: the file that `GRPC_XDS_BOOTSTRAP` names, for a gRPC program without a proxy
//! (gRFC A27).

use mesh_api::model::Label;
use serde_json::{Value, json};
use tonic::transport::Endpoint;

use crate::client::Context;
use crate::failure::Failure;
use crate::output::emit;

/// Port of a control plane whose address has none, as in HTTP.
const PORT: u16 = 80;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What the program is called in `proxy-status`: give each one a name of its own.
    #[arg(long, default_value = "grpc", value_name = "NAME")]
    id: String,
    /// The node that it runs on.
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    node: Option<Label>,
    /// Region that it runs in.
    #[arg(long, env = "MESH_REGION", value_name = "NAME")]
    region: Option<Label>,
    /// Zone that it runs in.
    #[arg(long, env = "MESH_ZONE", value_name = "NAME")]
    zone: Option<Label>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<(), Failure> {
    emit(&format!("{:#}\n", bootstrap(&context.server, args)?))
}

fn bootstrap(server: &str, args: &Args) -> Result<Value, Failure> {
    let url = || Failure::usage(format!("--server {server:?}: write it as http://HOST:PORT"));
    let endpoint = Endpoint::from_shared(server.to_owned()).map_err(|_invalid| url())?;
    let uri = endpoint.uri();
    if uri.scheme_str() != Some("http") {
        return Err(url());
    }
    let host = uri.host().ok_or_else(url)?;
    let port = uri.port_u16().unwrap_or(PORT);
    let text = |label: &Option<Label>| label.as_ref().map(ToString::to_string).unwrap_or_default();
    Ok(json!({
        "xds_servers": [{
            "server_uri": format!("{host}:{port}"),
            "channel_creds": [{ "type": "insecure" }],
            "server_features": ["xds_v3"],
        }],
        "node": {
            "id": args.id,
            "cluster": "mesh",
            "locality": { "region": text(&args.region), "zone": text(&args.zone) },
            "metadata": { "node": text(&args.node) },
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Args {
        let node = "n1".parse().ok();
        Args { id: "orders-1".to_owned(), node, region: None, zone: "z1".parse().ok() }
    }

    #[test]
    fn the_control_planes_address_is_a_target_of_grpc() {
        for (server, target) in [
            ("http://127.0.0.1:15010", "127.0.0.1:15010"),
            ("http://[fd00::1]:15010/", "[fd00::1]:15010"),
            ("http://control.mesh", "control.mesh:80"),
        ] {
            let file = bootstrap(server, &args()).unwrap();
            assert_eq!(file.pointer("/xds_servers/0/server_uri").unwrap(), target);
        }
        for server in ["", "control", "https://control", "http://"] {
            assert!(matches!(bootstrap(server, &args()), Err(Failure::Usage { .. })), "{server}");
        }
    }

    #[test]
    fn the_program_says_who_and_where_it_is() {
        let file = bootstrap("http://h:1", &args()).unwrap();
        let node = file.get("node").unwrap();
        assert_eq!(node.get("id").unwrap(), "orders-1");
        assert_eq!(node.pointer("/locality").unwrap(), &json!({ "region": "", "zone": "z1" }));
        assert_eq!(node.pointer("/metadata/node").unwrap(), "n1");
    }
}
