//! The plugins of a pipeline: which there are, and what they may.

use std::{borrow::Cow, collections::BTreeMap, path::Path, sync::Arc};

use dflow_operators::{Desk, GrantedModel, Requests, StageModels};
use dflow_pipeline::{At, Fault, Mistake, Name, Stage};
use dflow_wasm::{Granted, Http, INTERPRETERS, Plugin, shipped, shipped_names};

use super::Planning;
use crate::{
    problems::{of_io, of_wasm},
    verbs,
};

/// The name by which a plugin ships or is written: one of a flow's file has the flow's name before its own.
pub(super) fn own(plugin: &str) -> &str {
    plugin.rsplit_once('.').map_or(plugin, |(_, own)| own)
}

impl Planning<'_> {
    /// Finds plugins without a component: without `source` there are only those that ship.
    pub(super) fn sourceless(&mut self) {
        for (name, plugin) in &self.pipeline.plugin {
            if plugin.source.is_some() || shipped(own(name.as_str())).is_some() {
                continue;
            }
            let shipped: Vec<_> = shipped_names().chain(INTERPRETERS).collect();
            let hint = format!("add `source = \"path/to/component.wasm\"`; without it go {}", shipped.join(", "));
            let at = At::new(["plugin", name.as_str()]);
            self.mistakes.push(Mistake::new(at, format!("`{name}` has no `source`")).hint(hint));
            self.broken.insert(name.to_string());
        }
    }

    /// Loads the plugins that ship and that stages use. What is wrong with one is found again, and said, where it is used; so is what a
    /// pipeline with mistakes uses, of which not all is planned.
    pub(super) async fn load_shipped(&mut self, stages: &[Name]) {
        if !self.mistakes.is_empty() {
            return;
        }
        let pipeline = self.pipeline;
        for name in stages {
            let stage = pipeline.stage.get(name);
            let Some(plugin) = stage.and_then(|stage| pipeline.plugin_of(stage)) else { continue };
            if shipped(own(&plugin)).is_none() || self.plugins.contains_key(&*plugin) {
                continue;
            }
            let loaded = self.load(name, &plugin).await;
            if let Ok(loaded) = loaded {
                self.plugins.insert(plugin.into_owned(), loaded);
            }
        }
    }

    /// A plugin by the name that a stage uses; `Err(None)` when it was reported before.
    pub(super) async fn plugin(&mut self, stage: &Name, plugin: &str) -> Result<Arc<Plugin>, Option<Mistake>> {
        if let Some(loaded) = self.plugins.get(plugin) {
            return Ok(loaded.clone());
        }
        if self.broken.contains(plugin) {
            return Err(None);
        }
        let loaded = self.load(stage, plugin).await;
        match loaded {
            Ok(loaded) => {
                self.plugins.insert(plugin.to_owned(), loaded.clone());
                Ok(loaded)
            }
            Err(mistake) => {
                self.broken.insert(plugin.to_owned());
                Err(Some(mistake))
            }
        }
    }

    /// The plugin that interprets a language; `Err(None)` when it was reported before that it isn't there.
    pub(super) async fn interpreter(&mut self, name: &Name, stage: &Stage) -> Result<Arc<Plugin>, Option<Mistake>> {
        let language = stage.verb.keyword();
        if shipped(language).is_none() {
            let what = format!("this dflow-host was built without what interprets `{language}`");
            let hint = "run `plugins/build`, then build the host again";
            return Err(self
                .broken
                .insert(language.to_owned())
                .then(|| Mistake::new(At::stage(name).key(language), what).hint(hint)));
        }
        let plugin = self.pipeline.plugin_of(stage).unwrap_or(Cow::Borrowed(language));
        self.plugin(name, &plugin).await
    }

    /// The models that a plugin is granted, for a stage that uses it.
    pub(super) fn granted_models(&self, stage: &Name, plugin: &str) -> Result<Option<StageModels>, Vec<Mistake>> {
        let Some(named) = self.pipeline.plugin.get(plugin).filter(|named| !named.grant.models.is_empty()) else {
            return Ok(None);
        };
        let (mut granted, mut mistakes) = (BTreeMap::new(), Vec::new());
        for model in &named.grant.models {
            // A guest knows it by the name that the file of its plugin gives it.
            let own = model.as_str().rsplit_once('.').map_or(model.as_str(), |(_, own)| own);
            match verbs::ask::models(self.pipeline, self.environment, model) {
                Ok(asked) => {
                    let desk = Desk::new(stage, self.environment.models.clone(), asked);
                    let length = self.pipeline.model.get(model).and_then(dflow_pipeline::Model::vector);
                    granted.insert(own.to_owned(), GrantedModel { desk, length });
                }
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if mistakes.is_empty() { Ok(Some(StageModels::new(granted))) } else { Err(mistakes) }
    }

    async fn load(&self, stage: &Name, plugin: &str) -> Result<Arc<Plugin>, Mistake> {
        let sandbox = &self.environment.sandbox;
        let named = self.pipeline.plugin.get(plugin);
        let limits = named.map(|named| named.limits).unwrap_or_default();
        let granted = || {
            let Some(dflow_pipeline::Plugin { grant, .. }) = named else { return Ok(Granted::default()) };
            let http = self.environment.stores.granted_http(plugin, grant);
            let http = http.map_err(|e| of_io(At::new(["plugin", plugin, "grant"]), &e))?;
            let http = http.map(|http| Arc::new(Requests(http)) as Arc<dyn Http>);
            Ok(Granted { http, models: !grant.models.is_empty(), nominally: false })
        };
        match (shipped(own(plugin)), named.map(|named| &named.source)) {
            (Some(_), Some(Some(_))) => {
                let what = format!("`{plugin}` ships with dflow and can't be replaced");
                let hint = "give yours another name; without `source` this sets the limits of the one that ships";
                Err(Mistake::new(At::new(["plugin", plugin]), what).hint(hint))
            }
            (Some(shipped), _) => {
                let loaded = sandbox.load(plugin, shipped.bytes, Some(shipped.digest), limits, granted()?);
                loaded.await.map_err(|e| of_wasm(At::stage(stage).key(self.pipeline.stage[stage].verb.keyword()), &e))
            }
            (None, Some(Some(source))) => {
                let at = At::new(["plugin", plugin, "source"]);
                let path = self.environment.folder.join(Path::new(source));
                let bytes = std::fs::read(&path).map_err(|e| {
                    Mistake::new(at.clone(), format!("plugin `{plugin}`: can't read `{}`: {e}", path.display()))
                        .fault(Fault::Outside)
                })?;
                sandbox.load(plugin, &bytes, None, limits, granted()?).await.map_err(|e| of_wasm(at, &e))
            }
            (None, None | Some(None)) => {
                let at = At::stage(stage).key("use");
                let mut known: Vec<&str> =
                    self.pipeline.plugin.keys().map(Name::as_str).filter(|n| !n.contains('.')).collect();
                known.extend(shipped_names().map(|name| -> &str { name }));
                match shipped_names().next() {
                    Some(_) => Err(Mistake::unknown(at, "plugin", plugin, &known)),
                    None => Err(Mistake::new(
                        at,
                        format!(
                            "unknown plugin `{plugin}`; this dflow-host was built without the plugins that ship with it"
                        ),
                    )
                    .hint("run `plugins/build`, then build the host again")),
                }
            }
        }
    }
}
