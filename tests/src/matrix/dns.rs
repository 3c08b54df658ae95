//! The one question that the matrix asks in DNS (RFC 1035): which backend are you?

use anyhow::{Context as _, ensure};

/// The name that every server knows, with its own name as the text.
pub(super) const NAME: &str = "who.test";

/// A query for the text of `NAME`. Recursion is desired, as any stub resolver says.
pub(super) fn query(id: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    bytes.extend(b"\x03who\x04test\x00");
    bytes.extend([0, 16, 0, 1]);
    bytes
}

/// The text in the answer to `query(id)`.
pub(super) fn text(id: u16, answer: &[u8]) -> anyhow::Result<String> {
    let question = query(id);
    ensure!(answer.starts_with(&id.to_be_bytes()), "the answer to another question");
    let code = answer.get(3).context("a cut answer")? & 0x0f;
    ensure!(code == 0, "answered with error {code}");
    // The first record follows the repeated question: name, type, class and time to live (10
    // bytes as the name is a reference), its length (2) and that of the text (1).
    let at = question.len() + 12;
    let length = usize::from(*answer.get(at).context("no answer in the answer")?);
    let text = answer.get(at + 1..at + 1 + length).context("a cut text")?;
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// With the length in front, as it goes over TCP.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(message);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_answer_is_read() {
        // As dnsmasq 2.90 gave it.
        let mut answer = query(7);
        answer[2] = 0x85;
        answer[3] = 0x80;
        answer[7] = 1;
        answer.extend(b"\xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x00\x00\x03\x02d1");
        assert_eq!(text(7, &answer).unwrap(), "d1");
        assert!(text(8, &answer).is_err());
        assert!(text(7, &answer[..30]).is_err());
        assert_eq!(framed(&[1, 2]), [0, 2, 1, 2]);
    }
}
