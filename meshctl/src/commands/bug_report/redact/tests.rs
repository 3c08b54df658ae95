//! No secret gets through, wherever it stands; and what is none stays.

use proptest::prelude::*;

use super::*;

fn text(text: &str) -> String {
    Redactor::new(false).text(text)
}

#[test]
fn secrets_go_and_the_rest_stays() {
    for (before, after) in [
        (
            "http://me:pw@host:80/x?a=1&token=t0p&access_token=z",
            "http://[redacted]@host:80/x?a=1&token=[redacted]",
        ),
        ("cannot reach http://u:p/w@h: refused", "cannot reach http://[redacted]@h: refused"),
        (
            "--control http://host:15010 --auth-token abc --node n1",
            "--control http://host:15010 --auth-token [redacted] --node n1",
        ),
        ("DB_PASSWORD=hunter2 node=n1", "DB_PASSWORD=[redacted] node=n1"),
        ("password: correct horse", "password: [redacted]"),
        (r#"{"clientSecret":"a\"b","x":1}"#, r#"{"clientSecret":[redacted],"x":1}"#),
        ("Authorization: Bearer abc", "Authorization: [redacted]"),
        ("sent Bearer aBc123 on", "sent Bearer [redacted] on"),
        ("basic settings, 3 failed", "basic settings, 3 failed"),
        ("uses ghp_0123456789abcdefABCDEF now", "uses [redacted] now"),
        (
            "frontend 10.0.0.1:80 SERVICE=1 THRESHOLD=0.500000",
            "frontend 10.0.0.1:80 SERVICE=1 THRESHOLD=0.500000",
        ),
        (
            "/kubepods.slice/cri-containerd-0123456789abcdef0123456789abcdef.scope",
            "/kubepods.slice/cri-containerd-0123456789abcdef0123456789abcdef.scope",
        ),
        ("mesh_control_nodes{node=\"n1\"} 3", "mesh_control_nodes{node=\"n1\"} 3"),
    ] {
        assert_eq!(text(before), after);
    }
    let key = "a\n-----BEGIN EC PRIVATE KEY-----\nMHcCAQ\n-----END EC PRIVATE KEY-----\nb";
    assert_eq!(text(key), "a\n[redacted]\nb");
    assert_eq!(text("x -----BEGIN PRIVATE KEY-----\\nMHc"), "x [redacted]");
    let certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";
    assert_eq!(text(certificate), certificate);
}

#[test]
fn json_is_looked_at_field_by_field() {
    let json =
        r#"{"tokens":["a b",{"x":7}],"url":"http://u:p@h/","labels":{"api-key":"zz","app":"web"}}"#;
    let out = Redactor::new(false).file("a.json", json);
    let out: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(out["tokens"][0], GONE);
    assert_eq!(out["tokens"][1]["x"], GONE);
    assert_eq!(out["url"], "http://[redacted]@h/");
    assert_eq!((&out["labels"]["api-key"], &out["labels"]["app"]), (&GONE.into(), &"web".into()));
}

#[test]
fn addresses_get_other_names_always_the_same() {
    let redactor = Redactor::new(true);
    let out = redactor
        .text("from 10.1.2.3 to [fd00::7]:443, then 10.1.2.3:80; lo 127.0.0.1:1 v1.2 12:30:05");
    assert!(!out.contains("10.1.2.3") && !out.contains("fd00::7"), "{out}");
    assert!(out.contains("lo 127.0.0.1:1 v1.2 12:30:05"), "{out}");
    let names: Vec<&str> =
        out.split([' ', ':', ';']).filter(|word| word.starts_with("ipv4-")).collect();
    assert_eq!((names.len(), names.first()), (2, names.last()), "{out}");
    assert!(out.contains(&format!("{}:80", names[0])), "{out}");
    assert_ne!(Redactor::new(true).text("10.1.2.3"), redactor.text("10.1.2.3"), "no key");
}

/// Where a secret may stand.
fn with(secret: &str, at: usize) -> (&'static str, String) {
    let json = Value::from(secret).to_string();
    match at {
        0 => ("a.txt", format!("password={secret}")),
        1 => ("a.txt", format!("mesh-agent run --auth-token {secret} --node n1")),
        2 => ("a.txt", format!("mesh-agent run --auth-token={secret}")),
        3 => ("a.txt", format!("error=cannot reach http://user:{secret}@host:1/x: refused")),
        4 => ("a.txt", format!("GET https://host/path?x=1&access_token={secret}")),
        5 => ("a.txt", format!("Authorization: Bearer {secret}")),
        6 => ("a.txt", format!("  apiKey: {secret}")),
        7 => ("a.txt", format!("x=1 client_secret='{secret}' y=2")),
        8 => ("a.txt", format!("{{\"level\":\"INFO\",\"dbPassword\":{json},\"y\":2}}")),
        9 => ("a.json", format!("{{\"metadata\":{{\"labels\":{{\"vault-token\":{json}}}}}}}")),
        10 => ("a.json", format!("{{\"credentials\":[{{\"user\":{json}}}]}}")),
        11 => ("a.json", format!("{{\"path\":\"/ready?token={secret}\"}}")),
        12 => ("a.json", format!("[\"--password\",\"PGPASSWORD={secret}\"]")),
        _ => (
            "a.txt",
            format!(
                "k\n-----BEGIN RSA PRIVATE KEY-----\n{secret}\n-----END RSA PRIVATE KEY-----\n"
            ),
        ),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_secret_gets_through(
        secret in "[A-Za-z0-9!$%^*_+.~-]{6,40}",
        at in 0..14_usize,
        noise in "[ -~]{0,40}",
        addresses: bool,
    ) {
        // Not what stands around it.
        prop_assume!(!noise.contains(&secret) && !GONE.contains(&secret));
        prop_assume!(!secret.starts_with('-'));
        let (name, text) = with(&secret, at);
        prop_assume!(!text.replacen(&secret, "", 1).contains(&secret));
        let whole =
            if name == "a.txt" { format!("{noise}\n{text}\n{noise}") } else { text };
        let out = Redactor::new(addresses).file(name, &whole);
        prop_assert!(!out.contains(&secret), "{out}");
    }

    #[test]
    fn any_text_can_be_redacted(text in "\\PC{0,200}") {
        let once = Redactor::new(true).file("a.json", &text);
        prop_assert!(once.len() <= text.len() * 12 + 64);
    }
}
