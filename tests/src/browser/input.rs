//! What a person does: clicks and keys, through the browser's own events.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Browser;

/// Keys without a character, and how the protocol calls them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Key {
    Tab,
    Enter,
    Escape,
    Left,
    Up,
    Right,
    Down,
    Home,
    End,
}

impl Key {
    const fn code(self) -> char {
        match self {
            Self::Tab => '\u{e004}',
            Self::Enter => '\u{e007}',
            Self::Escape => '\u{e00c}',
            Self::End => '\u{e010}',
            Self::Home => '\u{e011}',
            Self::Left => '\u{e012}',
            Self::Up => '\u{e013}',
            Self::Right => '\u{e014}',
            Self::Down => '\u{e015}',
        }
    }
}

/// What the protocol calls an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

impl Browser {
    /// Clicks the middle of the first element that fits. Fails where it is not there, not to be seen,
    /// or behind another one.
    pub fn click(&self, selector: &str) -> anyhow::Result<()> {
        let ask = json!({"using": "css selector", "value": selector});
        let element = self.driver.post("element", &ask)?;
        let id = element[ELEMENT].as_str().context("no element")?;
        let click = self.driver.post(&format!("element/{id}/click"), &json!({}));
        click.with_context(|| selector.to_owned()).map(drop)
    }

    /// Clicks at a place of the window, in CSS pixels from its upper left corner.
    pub fn click_at(&self, x: f64, y: f64) -> anyhow::Result<()> {
        let actions = json!([
            {"type": "pointerMove", "duration": 0, "x": x.round(), "y": y.round()},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]);
        self.act(&json!({"type": "pointer", "id": "mouse", "actions": actions}))
    }

    /// Presses a key.
    pub fn key(&self, key: Key) -> anyhow::Result<()> {
        self.text(&key.code().to_string())
    }

    /// Types text, wherever the focus is.
    pub fn text(&self, text: &str) -> anyhow::Result<()> {
        let way = |kind: &str, key: char| json!({"type": kind, "value": key});
        let keys = text.chars().flat_map(|key| [way("keyDown", key), way("keyUp", key)]);
        let actions: Vec<Value> = keys.collect();
        self.act(&json!({"type": "key", "id": "keyboard", "actions": actions}))
    }

    fn act(&self, source: &Value) -> anyhow::Result<()> {
        self.driver.post("actions", &json!({"actions": [source]})).map(drop)
    }
}
