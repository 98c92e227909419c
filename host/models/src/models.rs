//! The models of a run: opened once, asked through their controllers, what they answered on the disk before anybody sees it.
//!
//! A question that is under way is finished and its answer kept even when who asked has gone: it is paid for. [`Models::close`] lets no
//! further request out, and [`Models::drained`] waits for those that are.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{Client, Url, redirect};
use tokio::{
    runtime::Handle,
    sync::Notify,
    task::{JoinError, JoinSet},
};

use crate::{
    anthropic,
    controller::{Controller, Ended, Limits, Refused},
    flights::{Awaited, Flight, Flights},
    model::{Count, Dialect, Failed, Key, Model, REFUSED, Request, Unanswered, headers, wait},
    money::{Budget, OverBudget, Price, Usd},
    openai,
    records::{Answers, Digest, From, Given, Question, Unkept},
};

/// How long it may take to reach a server.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a request may be refused (429) again and again before it is given up. It isn't to blame, and nothing is paid meanwhile.
const PATIENCE: Duration = Duration::from_mins(15);
/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(60);

/// How a model is opened.
pub struct Settings {
    /// The name of its resource.
    pub resource: String,
    /// What the provider calls it.
    pub name: String,
    /// How it is spoken to.
    pub dialect: Dialect,
    /// The address below which the dialect's paths are.
    pub endpoint: Url,
    /// Its key.
    pub key: Option<Key>,
    /// What its endpoint allows.
    pub limits: Limits,
    /// What it costs.
    pub price: Option<Price>,
    /// What may be spent on it.
    pub most: Option<Usd>,
    /// The longest that one request may take.
    pub timeout: Duration,
    /// How often a request is sent again that failed.
    pub retries: u32,
    /// The most tokens that go in and come out together.
    pub window: Option<u64>,
    /// Texts of one request for vectors, and their tokens.
    pub most_texts: (usize, u64),
    /// Counts tokens.
    pub count: Option<Count>,
}

/// What becomes of what is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is sent.
    #[default]
    Ask,
    /// It is noted, and nobody answers ([`Models::rehearsed`]). No key is needed.
    Rehearse,
    /// Only what was answered before is known. No key is needed.
    Replay,
}

/// What would have been asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsed {
    /// The stage that would have asked.
    pub stage: Arc<str>,
    /// The model's resource.
    pub model: String,
    /// Tokens that would have gone in.
    pub input: u64,
    /// Those of them that the provider would have had in its cache.
    pub cached: u64,
    /// Tokens that may come out: at least, likely, at most.
    pub output: [u64; 3],
    /// What tells the question apart, where its answer is shared.
    pub question: Option<Digest>,
}

/// What is known of a question.
#[derive(Debug)]
pub enum Taken {
    /// Its answer.
    Known(Given, From),
    /// Who took it is to ask it.
    Ours(Arc<Flight>),
    /// Somebody else is asking it.
    Others(Awaited),
}

impl Taken {
    fn ours(&self) -> Option<&Arc<Flight>> {
        match self {
            Self::Ours(flight) => Some(flight),
            _ => None,
        }
    }
}

/// The models of a run.
#[derive(Debug)]
pub struct Models {
    io: Handle,
    mode: Mode,
    rehearsed: Mutex<Vec<Rehearsed>>,
    /// What the run may cost.
    run: Arc<Budget>,
    opened: Mutex<Opened>,
    answers: OnceLock<Arc<dyn Answers>>,
    flights: Arc<Flights>,
    under_way: AtomicUsize,
    /// None is under way any more.
    landed: Notify,
}

#[derive(Debug, Default)]
struct Opened {
    client: Option<Client>,
    /// That of endpoints on this machine.
    local: Option<Client>,
    models: BTreeMap<String, Arc<Model>>,
    /// By endpoint, key and what the provider calls the model.
    controllers: Vec<(Url, Option<Key>, String, Arc<Controller>)>,
    closed: bool,
}

impl Models {
    /// None opened yet; requests are waited for on `io`, and all of them cost at most `most`.
    pub fn new(io: Handle, most: Option<Usd>, mode: Mode) -> Arc<Self> {
        Arc::new(Self {
            io,
            mode,
            rehearsed: Mutex::default(),
            run: Budget::new("the run", most),
            opened: Mutex::default(),
            answers: OnceLock::new(),
            flights: Arc::default(),
            under_way: AtomicUsize::new(0),
            landed: Notify::new(),
        })
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A model that is open already.
    pub fn get(&self, resource: &str) -> Option<Arc<Model>> {
        self.opened().models.get(resource).cloned()
    }

    /// Opens a model. Those that are one and the same for the provider have one controller, and the stricter of their limits.
    ///
    /// # Errors
    /// No client can be made.
    pub fn open(&self, settings: Settings) -> Result<Arc<Model>, String> {
        let mut opened = self.opened();
        let here = is_here(&settings.endpoint);
        let made = if here { &mut opened.local } else { &mut opened.client };
        let client = match made {
            Some(client) => client.clone(),
            None => made.insert(client(here)?).clone(),
        };
        let same = opened
            .controllers
            .iter()
            .find(|(url, key, name, _)| *url == settings.endpoint && *key == settings.key && *name == settings.name);
        let controller = match same {
            Some((.., controller)) => {
                controller.restrict(settings.limits);
                controller.clone()
            }
            None => {
                let controller = Controller::new(settings.limits);
                if opened.closed {
                    controller.close();
                }
                let (endpoint, key, name) = (settings.endpoint.clone(), settings.key.clone(), settings.name.clone());
                opened.controllers.push((endpoint, key, name, controller.clone()));
                controller
            }
        };
        let own = Budget::new(format!("model `{}`", settings.resource), settings.most);
        let below = |path: &str| {
            let url = format!("{}/{path}", settings.endpoint.as_str().trim_end_matches('/'));
            Url::parse(&url).map_err(|e| format!("`{url}` is no address: {e}"))
        };
        let completions = match settings.dialect {
            Dialect::OpenAi => below(openai::COMPLETIONS)?,
            Dialect::Anthropic => below(anthropic::MESSAGES)?,
        };
        let embeddings = below(openai::EMBEDDINGS)?;
        let model = Arc::new(Model {
            resource: settings.resource.clone(),
            name: settings.name,
            dialect: settings.dialect,
            endpoint: settings.endpoint,
            completions,
            embeddings,
            price: settings.price,
            timeout: settings.timeout,
            retries: settings.retries,
            window: settings.window,
            most_texts: settings.most_texts,
            count: settings.count,
            headers: headers(settings.dialect, settings.key.as_ref()),
            key: settings.key,
            client,
            controller,
            budgets: vec![own, self.run.clone()],
            aside: Default::default(),
            came_out: Default::default(),
            underestimated: Default::default(),
        });
        opened.models.insert(settings.resource, model.clone());
        Ok(model)
    }

    /// Says where answers are kept, and what earlier runs that this one goes on with have spent, by model.
    pub fn begin(&self, answers: Arc<dyn Answers>, spent: &BTreeMap<String, Usd>) {
        let _ = self.answers.set(answers);
        self.run.begin(Usd(spent.values().map(|usd| usd.0).sum()));
        for (resource, spent) in spent {
            if let Some(model) = self.get(resource) {
                model.budgets[0].begin(*spent);
            }
        }
    }

    /// What becomes of what is asked.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Notes what would have been asked.
    pub fn rehearse(&self, what: Rehearsed) {
        self.rehearsed.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// What would have been asked, since this was asked last.
    pub fn rehearsed(&self) -> Vec<Rehearsed> {
        std::mem::take(&mut self.rehearsed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether any model is open.
    pub fn is_empty(&self) -> bool {
        self.opened().models.is_empty()
    }

    /// Whether answers are kept.
    pub fn keeps(&self) -> bool {
        self.answers.get().is_some()
    }

    /// What was spent, by the runs too that this one goes on with.
    pub fn spent(&self) -> Usd {
        self.run.spent()
    }

    /// Whether requests may not be sent without saying how many tokens may come out.
    pub fn is_capped(&self, model: &Model) -> bool {
        model.budgets.iter().any(|budget| budget.is_capped())
    }

    /// Lets nothing more out.
    pub fn close(&self) {
        let mut opened = self.opened();
        opened.closed = true;
        opened.controllers.iter().for_each(|(.., controller)| controller.close());
    }

    /// Waits until what is under way has been answered and kept, or has failed; then nothing is set aside for it any more.
    pub async fn drained(&self) {
        loop {
            let landed = self.landed.notified();
            if self.under_way.load(Ordering::Acquire) == 0 {
                break;
            }
            landed.await;
        }
        let Some(keeper) = self.answers.get() else { return };
        let models: Vec<Arc<Model>> = self.opened().models.values().cloned().collect();
        for model in models {
            let unspent = model.aside.settle();
            if unspent > Usd(0)
                && let Err(Unkept(why, _)) = keeper.unspent(&model.resource, unspent).await
            {
                tracing::warn!("{unspent} count as spent on model `{}` that aren't: {why}", model.resource);
            }
        }
    }

    /// What is known of some questions. Where others were given an answer, it is noted that these rows have it, too.
    ///
    /// # Errors
    /// It can't be found out, or noted.
    pub async fn take(&self, questions: Vec<Question>) -> Result<Vec<Taken>, Unanswered> {
        let entered = self.flights.enter(questions).into_iter();
        let mut taken: Vec<Taken> = entered.map(|entered| entered.map_or_else(Taken::Others, Taken::Ours)).collect();
        let ours = taken.iter().filter_map(Taken::ours).map(|flight| flight.question.clone()).collect::<Vec<_>>();
        let Some(answers) = self.answers.get().filter(|_| !ours.is_empty()) else { return Ok(taken) };
        let mut found = answers.find(ours).await?.into_iter();
        let mut shared = Vec::new();
        for place in &mut taken {
            let Some(flight) = place.ours() else { continue };
            let Some((given, from)) = found.next().flatten() else { continue };
            if from == From::Own {
                flight.pass();
                *place = Taken::Known(given, From::Row);
                continue;
            }
            flight.end(&Ok(given.clone()));
            if from == From::Shared {
                shared.push((flight.question.clone(), given.clone(), from));
            }
            *place = Taken::Known(given, from);
        }
        if !shared.is_empty() {
            self.keep(shared).await?;
        }
        Ok(taken)
    }

    /// What others were answered, and from where this row has it; nothing, if they have gone: then the question is to be taken again.
    ///
    /// # Errors
    /// As those were told, or it can't be noted that this row has the answer, too.
    pub async fn awaited(&self, awaited: Awaited) -> Result<Option<(Given, From)>, Unanswered> {
        let question = awaited.question.clone();
        let Some(outcome) = awaited.outcome().await else { return Ok(None) };
        let given = outcome?;
        if question.share.is_none() {
            // It was the same row's.
            return Ok(Some((given, From::Row)));
        }
        self.keep(vec![(question, given.clone(), From::Shared)]).await?;
        Ok(Some((given, From::Shared)))
    }

    /// Asks the first of some models that answers, and keeps what it says: an answer for each question. `write` says what is sent to which.
    /// What came of them their holder says ([`Flight::end`]).
    ///
    /// # Errors
    /// Why there is no answer, and how often it was asked for.
    pub async fn ask(
        self: &Arc<Self>,
        models: &[Arc<Model>],
        flights: &[Arc<Flight>],
        write: impl Fn(&Model) -> Request,
    ) -> Result<Vec<Given>, (Unanswered, u32)> {
        let (mut failed, attempts) = (Unanswered::Closed, Arc::<AtomicU32>::default());
        for model in models {
            failed = match self.asked(model, flights, write(model), &attempts).await {
                Err(failed @ (Unanswered::Endpoint(..) | Unanswered::Setup(..) | Unanswered::Request(REFUSED, _))) => {
                    failed
                }
                other => return other.map_err(|unanswered| (unanswered, attempts.load(Ordering::Relaxed))),
            };
            if models.len() > 1 {
                tracing::debug!("{failed:?}");
            }
        }
        Err((failed, attempts.load(Ordering::Relaxed)))
    }

    /// Asks one model, as often as it takes: where requests are waited for, since what one that ends lets out wakes no other thread there.
    /// Who drops this gives up what isn't sent yet. `attempts` counts on from those of the models before it.
    async fn asked(
        self: &Arc<Self>,
        model: &Arc<Model>,
        flights: &[Arc<Flight>],
        request: Request,
        attempts: &Arc<AtomicU32>,
    ) -> Result<Vec<Given>, Unanswered> {
        if self.mode != Mode::Ask {
            let what = "there is a question to which no answer is recorded".to_owned();
            return Err(Unanswered::Setup(
                what,
                "`dflow-host test --record` asks the models, and records what they answer".to_owned(),
            ));
        }
        let mut asking = JoinSet::new();
        asking.spawn_on(
            self.clone().asking(model.clone(), flights.into(), Arc::new(request), attempts.clone()),
            &self.io,
        );
        asking.join_next().await.map_or(Err(Unanswered::Closed), |done| done.unwrap_or_else(|e| Err(gone(&e))))
    }

    async fn asking(
        self: Arc<Self>,
        model: Arc<Model>,
        flights: Arc<[Arc<Flight>]>,
        request: Arc<Request>,
        attempts: Arc<AtomicU32>,
    ) -> Result<Vec<Given>, Unanswered> {
        let (mut failures, mut refused) = (0, None);
        loop {
            let (reserved, permit) = loop {
                let reserved = Budget::reserve(&model.budgets, || model.most(&request)).await;
                let reserved =
                    reserved.map_err(|over| Unanswered::Money(OverBudget { out: model.most_out(&request), ..over }))?;
                let tokens = request.tokens() + model.out(&request);
                let permit = model.controller.permit(tokens).await.map_err(|refused| match refused {
                    Refused::Closed => Unanswered::Closed,
                    Refused::TooLarge { tokens, most } => Unanswered::Request(
                        "prompt-too-long",
                        format!("it may take {tokens} tokens, and model `{}` takes {most} a minute", model.resource),
                    ),
                })?;
                // Others may have turned out to cost more meanwhile. Both are given back then: somebody with money may wait for the permit.
                if !self.is_capped(&model) || reserved.most() >= model.most(&request) {
                    break (reserved, permit);
                }
            };
            let attempts = attempts.fetch_add(1, Ordering::Relaxed) + 1;
            let (model, request, flights) = (model.clone(), request.clone(), flights.clone());
            let resource = model.resource.clone();
            let retries = model.retries;
            let desk = self.clone();
            let landed = self.clone().landing(async move {
                let _aside = desk.set_aside(&model, reserved.most()).await?;
                let given = match model.attempt(&request, permit, reserved).await {
                    Ok(given) => given.into_iter().map(|given| Given { attempts, ..given }).collect::<Vec<_>>(),
                    Err((failed, lost)) => {
                        if let Some(keeper) = desk.answers.get().filter(|_| lost > Usd(0)) {
                            keeper.lost(&model.resource, lost).await?;
                        }
                        return Ok(Err(failed));
                    }
                };
                let kept = flights.iter().map(|flight| flight.question.clone()).zip(given.iter().cloned());
                desk.keep(kept.map(|(question, given)| (question, given, From::Asked)).collect()).await?;
                Ok(Ok(given))
            });
            let (ended, kind, what) = match landed.await? {
                Ok(given) => return Ok(given),
                Err(Failed::Never(unanswered)) => return Err(unanswered),
                Err(Failed::Again(ended, kind, what)) => (ended, kind, what),
            };
            let given_up = match ended {
                // What was waited for before the first refusal was its turn, or money.
                Ended::Refused => refused.get_or_insert_with(Instant::now).elapsed() > PATIENCE,
                _ => {
                    failures += 1;
                    failures > retries
                }
            };
            if given_up {
                return Err(Unanswered::Endpoint(kind, what, attempts));
            }
            tracing::debug!(model = resource, attempts, "{kind}: {what}");
            // Who was refused waits for the endpoint's pace, and for nothing else.
            if ended != Ended::Refused {
                tokio::time::sleep(wait(failures)).await;
            }
        }
    }

    /// Where there is a cap, sets aside in the journal what a request may cost, until it has ended.
    async fn set_aside(&self, model: &Arc<Model>, most: Usd) -> Result<Option<SetAside>, Unanswered> {
        let Some(keeper) = self.answers.get().filter(|_| self.is_capped(model)) else { return Ok(None) };
        let note = model.aside.begin(most);
        let aside = SetAside { model: model.clone(), most };
        if note.all() > Usd(0) {
            keeper.lost(&model.resource, note.all()).await?;
            model.aside.noted(note);
        }
        Ok(Some(aside))
    }

    async fn keep(&self, answers: Vec<(Question, Given, From)>) -> Result<(), Unanswered> {
        match self.answers.get() {
            Some(keeper) => Ok(keeper.keep(answers).await?),
            None => Ok(()),
        }
    }

    /// Does something where requests are waited for, to its end, whether or not somebody waits for it.
    fn landing<T: Send + 'static>(
        self: Arc<Self>,
        work: impl Future<Output = Result<T, Unanswered>> + Send + 'static,
    ) -> impl Future<Output = Result<T, Unanswered>> {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        let flight = UnderWay(self.clone());
        let landing = self.io.spawn(async move {
            let result = work.await;
            drop(flight);
            result
        });
        async move { landing.await.unwrap_or_else(|e| Err(gone(&e))) }
    }
}

/// What is said of a request whose task is gone.
fn gone(why: &JoinError) -> Unanswered {
    Unanswered::Endpoint("lost", format!("the request was lost: {why}"), 1)
}

/// A client, for endpoints on this machine or elsewhere.
fn client(here: bool) -> Result<Client, String> {
    let client = Client::builder()
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(usize::MAX)
        .tcp_nodelay(true)
        // A key goes to the endpoint that the file names, and nowhere else.
        .redirect(redirect::Policy::none())
        .user_agent(concat!("dflow/", env!("CARGO_PKG_VERSION")));
    // Through a proxy what may go to this machine in the clear would leave it.
    let client = if here { client.no_proxy() } else { client };
    client.build().map_err(|e| format!("no client can be made: {e}"))
}

/// Whether an endpoint is on this machine.
fn is_here(endpoint: &Url) -> bool {
    let host = endpoint.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// That money is set aside for a request.
struct SetAside {
    model: Arc<Model>,
    most: Usd,
}

impl Drop for SetAside {
    fn drop(&mut self) {
        self.model.aside.end(self.most);
    }
}

/// Counts what is under way.
struct UnderWay(Arc<Models>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.landed.notify_waiters();
        }
    }
}

impl std::convert::From<Unkept> for Unanswered {
    fn from(Unkept(what, hint): Unkept) -> Self {
        Self::Unkept(what, hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_this_machine_is_known() {
        for (endpoint, here) in [
            ("http://127.0.0.1:8080/v1", true),
            ("http://[::1]:8080/v1", true),
            ("http://LOCALHOST/v1", true),
            ("https://localhost.example.com/v1", false),
            ("https://api.openai.com/v1", false),
            ("http://10.0.0.1/v1", false),
        ] {
            assert_eq!(is_here(&endpoint.parse().expect("a URL")), here, "{endpoint}");
        }
    }
}
