//! `prompt`, `embed`, `classify`: what a model says to each row.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use datafusion::{
    arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema},
    logical_expr::{Expr, Extension, LogicalPlan},
};
use dflow_models::{
    Dialect, Key, Mode, Model, Settings, anthropic,
    controller::Limits,
    exchange::repeats,
    money::{Price, Usd},
    records::Share,
};
use dflow_operators::{
    AnswerShape, Ask, Asker, Desk, Health, OperatorNode, OperatorSpec, Reads, Template, Wanted, Worker, columns_of,
    schema_of, token_counter, usage_type,
};
use dflow_pipeline::{
    AnswerSchema, At, BatchLimits, ClassifyBy, Fault, Mistake, Name, OnError, Pipeline, Provider, Stage, Verb,
};
use dflow_wasm::PortType;
use serde_json::Value;

use crate::{
    Environment,
    columns::{Column, Columns, SYSTEM, flat},
    steps::{Step, planning, take},
    types::{parse_type, type_names, type_text},
};

/// The longest that a request may take, when nobody says: models think for long.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How often a request is sent again.
const RETRIES: u32 = 5;
/// Texts of one request for vectors, and their tokens: what OpenAI takes is 2,048 and 300,000.
const TEXTS: (u32, u64) = (128, 200_000);

/// What a verb asks for.
struct Asks<'a> {
    text: &'a str,
    system: Option<&'a String>,
    said: Option<String>,
    images: &'a [String],
    wanted: Wanted,
    /// The new columns.
    fields: Vec<(String, DataType)>,
}

impl Step {
    /// `prompt = "…"`, `embed = "…"`, `classify = "…"`
    pub(crate) fn ask(
        &self,
        name: &Name,
        stage: &Stage,
        pipeline: &Pipeline,
        environment: &Environment,
        batch: BatchLimits,
    ) -> Result<Self, Vec<Mistake>> {
        let at = At::stage(name);
        let Some(asking) = stage.verb.asking() else { return Err(Vec::new()) };
        let mut asking = asking.clone();
        let mut mistakes = Vec::new();
        let asked =
            models(pipeline, environment, &asking.model).map_err(|mistake| mistakes.push(mistake)).unwrap_or_default();
        let asks = asks(name, &at, &stage.verb, pipeline.model.get(&asking.model), &mut mistakes);
        let Some(asks) = asks else { return Err(mistakes) };
        let keyword = at.key(stage.verb.keyword());
        let embeds = matches!(asks.wanted, Wanted::Vector { .. } | Wanted::Closest(_));
        let anthropic = asked.iter().any(|model| model.dialect == Dialect::Anthropic);
        if embeds && anthropic {
            let mistake = Mistake::new(
                at.key("model"),
                format!("model `{}` is Anthropic's, and there are none that embed", asking.model),
            );
            mistakes.push(mistake.hint("name one with `provider = \"openai\"`"));
        }
        if let Some((first, others)) = asked.split_first().filter(|_| embeds)
            && let Some(other) = others.iter().find(|other| other.name != first.name)
        {
            let what = format!(
                "vectors of `{}` don't compare with those of `{}`, so model `{}` can't take the place of `{}` for `{name}`",
                other.name, first.name, other.resource, first.resource
            );
            let at = At::new(["model", asking.model.as_str()]).key("fallback");
            mistakes
                .push(Mistake::new(at, what).hint("a fallback of a model that embeds has the same `model`, elsewhere"));
        }
        if anthropic {
            asking.max_tokens = asking.max_tokens.or(Some(anthropic::MAX_TOKENS));
        }
        if !embeds && asking.max_tokens.is_none() && asked.iter().any(|model| environment.models.is_capped(model)) {
            let what = format!(
                "`{name}` doesn't say how many tokens may come out, so that nobody knows what a request can cost (`max_usd`)"
            );
            mistakes.push(Mistake::new(at.key("max_tokens"), what).hint("add `max_tokens = 500`"));
        }
        let text = self.template(&keyword, asks.text, &mut mistakes);
        let system = asks.system.and_then(|system| self.template(&at.key("system"), system, &mut mistakes));
        let (mut input, mut reads) = (Vec::new(), Vec::new());
        for (place, template) in [(&keyword, &text), (&at.key("system"), &system)] {
            for read in template.iter().flat_map(Template::names) {
                match self.read_by_template(place, &read) {
                    Ok((as_name, column)) if !input.iter().any(|field: &Field| field.name() == as_name) => {
                        input.push(Field::new(as_name, column.data_type().clone(), true));
                        reads.push(column.expr());
                    }
                    Ok(_) => {}
                    Err(mistake) => mistakes.push(mistake),
                }
            }
        }
        for (i, image) in asks.images.iter().enumerate() {
            match self.columns.get(image).map(|column| (column, take(column, &[PortType("binary".to_owned())]))) {
                Some((_, Some((column, _)))) => {
                    input.push(Field::new(format!("#image {i}"), DataType::Binary, true));
                    reads.push(flat(&column));
                }
                Some((column, None)) => {
                    let what = format!("a picture is bytes, and `{image}` is {}", type_text(column.data_type()));
                    mistakes.push(
                        Mistake::new(at.key("images"), what)
                            .hint("`read` with `format = \"blob\"` and `open` give bytes"),
                    );
                }
                None => mistakes.push(self.unknown_column(at.key("images"), image)),
            }
        }
        let mut columns = self.columns.child(name);
        let nullable = stage.on_error == OnError::Null;
        let mut new: Vec<FieldRef> = Vec::new();
        let place = if asking.into.is_some() { at.key("into") } else { keyword.clone() };
        let usage = asking.usage.then(|| {
            let of = if matches!(asks.wanted, Wanted::Object(_)) { name.as_str() } else { &asks.fields[0].0 };
            (format!("{}_usage", of.rsplit('.').next().unwrap_or(of)), usage_type())
        });
        for (ours, data_type) in asks.fields.iter().chain(&usage) {
            if columns.visible.contains_key(ours) || SYSTEM.contains(&ours.as_str()) {
                let mistake =
                    Mistake::new(place.clone(), format!("the new column `{ours}` of `{name}` is there already"));
                mistakes
                    .push(mistake.hint("give it another name (`into`), or drop the other one with `select` before"));
                continue;
            }
            let planned = Columns::field(
                &columns.flat_name(ours),
                data_type.clone(),
                nullable || matches!(asks.wanted, Wanted::Object(_)),
            );
            columns.visible.insert(ours.clone(), Column::of(&planned));
            new.push(planned);
        }
        let (Some(text), true) = (text, mistakes.is_empty()) else { return Err(mistakes) };
        let share = asking.share.unwrap_or(embeds || repeats(&asking.params));
        let share = share.then(|| Share { ttl: asking.cache_ttl.map(|ttl| ttl.duration()) });
        let desk = Desk::new(name, environment.models.clone(), asked);
        let ask = Ask {
            input: Arc::new(Schema::new(input)),
            images: asks.images.len(),
            text,
            system,
            said: asks.said,
            wanted: asks.wanted,
            params: asking.params,
            max_tokens: asking.max_tokens,
            truncate: asking.truncate,
            share,
            output: Arc::new(Schema::new(new.clone())),
            usage: asking.usage,
        };
        let spec = OperatorSpec {
            stage: name.clone(),
            operator: Worker::Asker(Arc::new(Asker::new(desk, ask))),
            columns: new,
            on_error: stage.on_error,
            retries: 0,
            batch,
            children: None,
            key: None,
            models: None,
            health: Health::default(),
        };
        let reads: Reads<Expr> = Reads {
            ports: reads,
            id: self.columns.id().map(Column::expr),
            uri: self.columns.uri.as_ref().map(Column::expr),
            attempts: self.columns.tried.as_ref().map(Column::expr),
            kept: Vec::new(),
        };
        let node = OperatorNode::try_new(Arc::new(spec), reads, self.plan.clone()).map_err(planning(at))?;
        Ok(Self { plan: LogicalPlan::Extension(Extension { node: Arc::new(node) }), columns })
    }

    fn template(&self, at: &At, text: &str, mistakes: &mut Vec<Mistake>) -> Option<Template> {
        let template = Template::new(text, str::to_owned);
        let template = template.map_err(|e| {
            mistakes.push(
                Mistake::new(at.clone(), format!("this is no template: {e}"))
                    .hint("`{{` is closed by `}}`, `{%` by `%}`"),
            );
        });
        let template = template.ok()?;
        mistakes.extend(
            template.unknown().map(|e| Mistake::new(at.clone(), format!("this template can't be filled in: {e}"))),
        );
        Some(template)
    }
}

/// What a verb asks for.
fn asks<'a>(
    name: &Name,
    at: &At,
    verb: &'a Verb,
    model: Option<&dflow_pipeline::Model>,
    mistakes: &mut Vec<Mistake>,
) -> Option<Asks<'a>> {
    let into =
        |default: &str| verb.asking().and_then(|asking| asking.into.clone()).unwrap_or_else(|| default.to_owned());
    let shape = |schema: Value, mistakes: &mut Vec<Mistake>| {
        let shape = AnswerShape::new(name.as_str().rsplit('.').next().unwrap_or("answer"), schema, None);
        shape.map_err(|e| mistakes.push(Mistake::new(at.key("schema"), e))).ok()
    };
    match verb {
        Verb::Prompt(prompt) => {
            let (wanted, fields) = match &prompt.schema {
                None => (Wanted::Text, vec![(into("answer"), DataType::Utf8View)]),
                Some(AnswerSchema::Json(schema)) => {
                    let schema = Value::Object(schema.clone());
                    let fields = columns_of(&schema).into_iter().filter_map(|(name, data_type)| match data_type {
                        Ok(data_type) => Some((name, data_type)),
                        Err(what) => {
                            let place = at.key("schema").key("properties").key(name);
                            let hint = "give it one type, or leave it free (`{}`): then it is JSON in a text";
                            mistakes.push(Mistake::new(place, what).hint(hint));
                            None
                        }
                    });
                    let fields = fields.collect();
                    (Wanted::Object(shape(schema, mistakes)?), fields)
                }
                Some(AnswerSchema::Columns(columns)) => {
                    let fields = columns.iter().filter_map(|(column, written)| {
                        let place = at.key("schema").key(column);
                        match parse_type(written) {
                            Some(data_type) if schema_of(&data_type).is_some() => Some((column.clone(), data_type)),
                            Some(data_type) => {
                                let what = format!("an answer is JSON, which has no {}", type_text(&data_type));
                                mistakes.push(Mistake::new(place, what));
                                None
                            }
                            None => {
                                mistakes.push(Mistake::unknown(place, "type", written, &type_names()));
                                None
                            }
                        }
                    });
                    let fields: Vec<(String, DataType)> = fields.collect();
                    let members: Fields = fields.iter().map(|(name, t)| Field::new(name, t.clone(), true)).collect();
                    let schema = schema_of(&DataType::Struct(members))?;
                    (Wanted::Object(shape(schema, mistakes)?), fields)
                }
            };
            Some(Asks {
                text: &prompt.text,
                system: prompt.system.as_ref(),
                said: None,
                images: &prompt.images,
                wanted,
                fields,
            })
        }
        Verb::Embed(embed) => {
            let Some(length) = embed.dimensions.or_else(|| model?.vector()) else {
                let at = At::new(["model", embed.asking.model.as_str()]).key("dimensions");
                let what = format!("it isn't known how long the vectors of model `{}` are", embed.asking.model);
                mistakes.push(Mistake::new(at, what).hint("add `dimensions = 384` to the model"));
                return None;
            };
            let wanted = Wanted::Vector { dimensions: embed.dimensions, length, normalize: embed.normalize };
            let item = Arc::new(Field::new_list_field(DataType::Float32, true));
            let Ok(size) = i32::try_from(length) else {
                mistakes.push(Mistake::new(at.key("dimensions"), format!("no vector has {length} numbers")));
                return None;
            };
            let fields = vec![(into("embedding"), DataType::FixedSizeList(item, size))];
            Some(Asks { text: &embed.text, system: None, said: None, images: &[], wanted, fields })
        }
        Verb::Classify(classify) => {
            let fields = vec![(into("label"), DataType::Utf8View)];
            let labels: Vec<&str> = classify.labels.keys().map(String::as_str).collect();
            let (wanted, said) = match classify.by {
                ClassifyBy::Prompt => {
                    let shape = AnswerShape::of_labels(&labels)
                        .map_err(|e| mistakes.push(Mistake::new(at.key("labels"), e)))
                        .ok()?;
                    let lines = classify.labels.iter().map(|(label, means)| match means.as_str() {
                        "" => format!("- {label}\n"),
                        means => format!("- {label}: {means}\n"),
                    });
                    let lines: String = lines.collect();
                    let said = format!(
                        "Say which of these labels fits what follows best. Answer with the label as JSON, such as {{\"label\": \"{}\"}}.\n{lines}",
                        labels[0]
                    );
                    (Wanted::Label(shape), Some(said))
                }
                ClassifyBy::Embedding => {
                    let texts = classify.labels.iter().map(|(label, means)| {
                        let text = if means.is_empty() { label.clone() } else { format!("{label}: {means}") };
                        (label.clone(), text)
                    });
                    (Wanted::Closest(texts.collect()), None)
                }
            };
            Some(Asks { text: &classify.text, system: classify.system.as_ref(), said, images: &[], wanted, fields })
        }
        _ => None,
    }
}

/// A model and those that take its place, opened.
pub(crate) fn models(pipeline: &Pipeline, environment: &Environment, name: &Name) -> Result<Vec<Arc<Model>>, Mistake> {
    let fallback = pipeline.model.get(name).map_or(&[][..], |model| &model.fallback);
    [name].into_iter().chain(fallback).map(|name| open(pipeline, environment, name)).collect()
}

/// What is wrong with the keys of models that stages ask, or may ask.
pub(crate) fn wrong_keys(pipeline: &Pipeline, environment: &Environment) -> Vec<Mistake> {
    let mut asked: BTreeSet<&Name> = pipeline.stage.values().flat_map(|stage| pipeline.asked(stage)).collect();
    let fallback = asked.iter().filter_map(|name| pipeline.model.get(*name)).flat_map(|model| &model.fallback);
    let fallback: Vec<&Name> = fallback.collect();
    asked.extend(fallback);
    let models = asked.into_iter().filter_map(|name| pipeline.model.get_key_value(name));
    models.filter_map(|(name, model)| key(environment, name, model.key_env.as_deref()).err()).collect()
}

/// A model's key, if it has one.
fn key(environment: &Environment, name: &Name, variable: Option<&str>) -> Result<Option<Key>, Mistake> {
    // Otherwise nobody is asked.
    let Some(variable) = variable.filter(|_| environment.models.mode() == Mode::Ask) else { return Ok(None) };
    let at = At::new(["model", name.as_str(), "key_env"]);
    let Some(value) = (environment.variables)(variable).filter(|value| !value.trim().is_empty()) else {
        let what = format!("the environment variable `{variable}`, which holds the key of model `{name}`, isn't set");
        return Err(Mistake::new(at, what)
            .hint(format!("`export {variable}=…`, or leave `key_env` out where no key is needed"))
            .fault(Fault::Outside));
    };
    match Key::new(value.trim()) {
        Some(key) => Ok(Some(key)),
        None => Err(Mistake::new(at, format!("what `{variable}` holds can't be sent as a key"))),
    }
}

fn open(pipeline: &Pipeline, environment: &Environment, name: &Name) -> Result<Arc<Model>, Mistake> {
    if let Some(model) = environment.models.get(name.as_str()) {
        return Ok(model);
    }
    let at = At::new(["model", name.as_str()]);
    let Some(written) = pipeline.model.get(name) else {
        return Err(Mistake::new(at, format!("there is no model `{name}`")));
    };
    // What is wrong with it is said by `wrong_keys`, and with the rest of the model here.
    let key = key(environment, name, written.key_env.as_deref()).unwrap_or_default();
    // `…/v1` and `…/v1/` are one endpoint, with one controller.
    let endpoint = written.address().trim_end_matches('/').parse();
    let endpoint =
        endpoint.map_err(|e| Mistake::new(at.key("endpoint"), format!("`{}` is no URL: {e}", written.address())))?;
    if pipeline.max_usd.is_some() && written.price.is_none() {
        let what = format!("model `{name}` has no `price`, and the run has a budget (`max_usd`)");
        return Err(Mistake::new(at.key("price"), what)
            .hint("add `price = { input = 0.15, output = 0.60 }`, in dollars for a million tokens"));
    }
    let count = match &written.tokenizer {
        None => None,
        Some(tokenizer) => Some(token_counter(&environment.folder, tokenizer).map_err(|e| {
            let mistake = Mistake::new(at.key("tokenizer"), e.message).fault(e.fault);
            match e.hint {
                Some(hint) => mistake.hint(hint),
                None => mistake,
            }
        })?),
    };
    let price =
        written.price.map(|price| Price { input: price.input, cached_input: price.cached_input, output: price.output });
    let settings = Settings {
        resource: name.to_string(),
        name: written.model.clone(),
        dialect: match written.provider {
            Provider::Openai => Dialect::OpenAi,
            Provider::Anthropic => Dialect::Anthropic,
        },
        endpoint,
        key,
        limits: Limits {
            requests_per_minute: written.limits.requests_per_minute,
            tokens_per_minute: written.limits.tokens_per_minute,
            in_flight: written.limits.in_flight,
        },
        price,
        most: written.max_usd.and_then(Usd::of),
        timeout: written.timeout.map_or(TIMEOUT, |timeout| timeout.duration()),
        retries: written.retries.unwrap_or(RETRIES),
        window: written.window,
        most_texts: (written.texts.unwrap_or(TEXTS.0) as usize, TEXTS.1),
        count,
    };
    environment.models.open(settings).map_err(|e| Mistake::new(at, e))
}
