//! What a person sees: text, attributes, where the focus is, and whether colours can be told apart.

use anyhow::Context as _;
use serde_json::json;

use super::Browser;

/// Where the focus is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Focus {
    /// Of the element, or of the nearest around it that has one: `data-service`.
    pub service: Option<String>,
    /// The element's id.
    pub id: String,
    /// What it says.
    pub text: String,
    /// Whether a person sees that it is there: an outline or a shadow.
    pub visible: bool,
}

/// Text that is hard to read.
#[derive(Clone, Debug, PartialEq)]
pub struct Pale {
    /// Of the luminances of text and ground, as the WCAG define it: 1 to 21.
    pub ratio: f64,
    pub text: String,
}

const FOCUS: &str = "
const it = document.activeElement, style = getComputedStyle(it);
const outline = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
return {
  service: it.closest('[data-service]')?.dataset.service ?? null,
  id: it.id,
  text: it.textContent.trim(),
  visible: it !== document.body && (outline || style.boxShadow !== 'none'),
};";

impl Browser {
    /// The text of the first element that fits, as it is shown; none where there is no such element.
    pub fn read(&self, selector: &str) -> anyhow::Result<Option<String>> {
        let body = "return document.querySelector(arguments[0])?.innerText ?? null";
        Ok(self.script(body, &[json!(selector)])?.as_str().map(ToOwned::to_owned))
    }

    /// An attribute of the first element that fits.
    pub fn attribute(&self, selector: &str, name: &str) -> anyhow::Result<Option<String>> {
        let body =
            "return document.querySelector(arguments[0])?.getAttribute(arguments[1]) ?? null";
        let value = self.script(body, &[json!(selector), json!(name)])?;
        Ok(value.as_str().map(ToOwned::to_owned))
    }

    /// How many elements that fit are to be seen: with a size, and not hidden.
    pub fn count(&self, selector: &str) -> anyhow::Result<u64> {
        let body = "return [...document.querySelectorAll(arguments[0])].filter((it) => \
                    it.checkVisibility({visibilityProperty: true}) \
                    && it.getClientRects().length > 0).length";
        self.script(body, &[json!(selector)])?.as_u64().context("no count")
    }

    /// Where the focus is.
    pub fn focus(&self) -> anyhow::Result<Focus> {
        let it = self.script(FOCUS, &[])?;
        let text = |name: &str| it[name].as_str().map(ToOwned::to_owned);
        Ok(Focus {
            service: text("service"),
            id: text("id").unwrap_or_default(),
            text: text("text").unwrap_or_default(),
            visible: it["visible"] == true,
        })
    }

    /// All text in the window whose contrast is below what the WCAG ask for (AA: 4.5, and 3 for large
    /// text), palest first; and how much text was looked at.
    pub fn pale(&self) -> anyhow::Result<(Vec<Pale>, u64)> {
        let found = self.script(include_str!("contrast.js"), &[])?;
        let pale = found["pale"].as_array().context("no list")?.iter().map(|it| {
            let ratio = it["ratio"].as_f64().context("no ratio")?;
            Ok(Pale { ratio, text: it["text"].as_str().unwrap_or_default().to_owned() })
        });
        let pale = pale.collect::<anyhow::Result<_>>()?;
        Ok((pale, found["looked"].as_u64().context("no count")?))
    }
}
