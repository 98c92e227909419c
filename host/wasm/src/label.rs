//! Who a guest is, for messages.

use std::{fmt, ops::Deref, sync::Arc};

/// Which stage and operator a guest works for; reads as its text.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    text: Arc<str>,
    /// What pipelines call its plugin.
    plugin: Arc<str>,
}

impl Label {
    pub(crate) fn new(text: impl Into<Arc<str>>, plugin: &str) -> Self {
        Self { text: text.into(), plugin: Arc::from(plugin) }
    }

    /// What to do about a limit.
    pub(crate) fn moves(&self, key: &str) -> String {
        // One of a flow's file has the flow's name before its own.
        let plugin = self.plugin.rsplit('.').next().unwrap_or(&self.plugin);
        match key {
            "time" => format!("`timeout` of the stage moves it, and so does `limits.time` in `[plugin.{plugin}]`"),
            _ => format!("`limits.{key}` in `[plugin.{plugin}]` moves it"),
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Deref for Label {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}
