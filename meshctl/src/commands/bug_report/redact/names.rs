//! Which names are those of secrets.

/// Within a name, without its separators.
const WITHIN: [&str; 15] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "apikey",
    "privatekey",
    "accesskey",
    "encryptionkey",
    "signingkey",
    "authorization",
    "bearer",
    "connectionstring",
    "cookie",
];
/// One of a name's words.
const WORDS: [&str; 9] = ["pwd", "pass", "auth", "psk", "dsn", "jwt", "sas", "otp", "pin"];
/// Names that are no secret's: numbers that the kernel gives to sockets.
const KNOWN: [&str; 2] = ["cookie", "COOKIE"];

/// Whether what has this name is a secret.
pub(super) fn is_secret(name: &str) -> bool {
    if KNOWN.contains(&name) {
        return false;
    }
    let words = words(name);
    let joined = words.concat();
    WITHIN.iter().any(|it| joined.contains(it))
        || words.iter().any(|word| WORDS.contains(&word.as_str()))
}

/// `apiKey`, `API_KEY` and `api-key` are the same.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for it in name.chars() {
        let begins = it.is_ascii_uppercase() && before.is_ascii_lowercase();
        if begins || !it.is_ascii_alphanumeric() {
            words.push(String::new());
        }
        if it.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(it.to_ascii_lowercase());
        }
        before = it;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_matter() {
        for name in [
            "password",
            "DB_PASSWORD",
            "clientSecret",
            "--api-key",
            "API_KEY",
            "x-auth-token",
            "PWD",
            "vault.token",
            "authorization",
            "pass",
            "set-cookie",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["passed", "author", "key", "cookie", "workload", "bypass", "span"] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
