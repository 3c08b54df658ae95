//! What a page must not do: log an error, or ask anyone but its own server.

use serde_json::Value;

/// Complaints about a page of `origin` (`http://address:port`), from the lines of the two logs.
pub(super) fn complaints(console: &[Value], network: &[Value], origin: &str) -> Vec<String> {
    let console = console.iter().filter(|line| line["level"] == "SEVERE");
    let errors = console.map(|line| format!("console: {}", line["message"]));
    let asked = network.iter().filter_map(asked);
    let foreign = asked.filter(|url| leaves(url, origin));
    errors.chain(foreign.map(|url| format!("request to {url}"))).collect()
}

/// The address of a request.
fn asked(line: &Value) -> Option<String> {
    let event: Value = serde_json::from_str(line["message"].as_str()?).ok()?;
    let event = &event["message"];
    let url = match event["method"].as_str()? {
        "Network.requestWillBeSent" => &event["params"]["request"]["url"],
        "Network.webSocketCreated" | "Network.webTransportCreated" => &event["params"]["url"],
        _ => return None,
    };
    Some(url.as_str()?.to_owned())
}

/// Whether it goes to anyone else; what is within the browser goes nowhere.
fn leaves(url: &str, origin: &str) -> bool {
    let inside = ["about:", "blob:", "chrome:", "data:", "devtools:"];
    let own = url.strip_prefix(origin).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    !own && !inside.iter().any(|scheme| url.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(method: &str, parameters: &Value) -> Value {
        let message = json!({"message": {"method": method, "params": parameters}});
        json!({"level": "INFO", "message": message.to_string()})
    }

    fn request(url: &str) -> Value {
        event("Network.requestWillBeSent", &json!({"request": {"url": url}}))
    }

    #[test]
    fn only_errors_and_foreign_requests_are_complained_about() {
        let console = [
            json!({"level": "WARNING", "message": "hm"}),
            json!({"level": "SEVERE", "message": "x is not defined"}),
        ];
        let network = [
            request("http://127.0.0.1:80/"),
            request("http://127.0.0.1:80/api?a"),
            request("data:,"),
            request("http://127.0.0.1:8080/"),
            request("https://fonts.example/a.woff2"),
            event("Network.webSocketCreated", &json!({"url": "ws://127.0.0.1:80/"})),
            event("Network.dataReceived", &json!({})),
        ];
        let expected = [
            "console: \"x is not defined\"",
            "request to http://127.0.0.1:8080/",
            "request to https://fonts.example/a.woff2",
            "request to ws://127.0.0.1:80/",
        ];
        assert_eq!(complaints(&console, &network, "http://127.0.0.1:80"), expected);
    }
}
