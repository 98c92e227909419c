//! `dflow-host test`: a pipeline's own tests.

use std::sync::Arc;

use dflow_pipeline::exit;
use dflow_run::Engine;
use serde_json::json;

use crate::{failure::Failure, interrupt, outside::Outside, settings::TestSettings, terminal::Terminal, words};

/// Runs the tests; exits as a run with failed rows does when one of them fails.
pub(crate) fn test(settings: &TestSettings, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let draft = settings.pipeline.read(outside)?;
    let engine = Engine::new(settings.engine.clone())?;
    if !draft.mistakes.is_empty() {
        engine.plan(&draft, None, None)?;
    }
    if draft.pipeline.test.is_empty() {
        let file = settings.pipeline.file.display();
        return Err(Failure::pipeline(format!("`{file}` has no tests")).hint(
            "add `[[test]]` with `stage = \"…\"`, the rows that go in (`in = { pages = [{ … }] }`) and those that are to come out (`rows = [{ … }]`)",
        ));
    }
    interrupt::watch(engine.cancel().clone(), terminal.clone())?;
    let trials = engine.trials(&draft, &settings.answers);
    if engine.cancel().is_raised() {
        return Err(Failure::Interrupted { goes_on: false });
    }
    let trials = trials?;
    let failed = trials.iter().filter(|trial| !trial.wrong.is_empty()).count();
    if settings.json {
        terminal.print(format!("{}\n", json!(trials)).as_bytes())?;
    } else {
        for trial in &trials {
            let mut text = format!("{} {}\n", if trial.wrong.is_empty() { "ok    " } else { "FAILED" }, trial.name);
            trial
                .wrong
                .iter()
                .for_each(|wrong| text.push_str(&format!("       {}\n", wrong.replace('\n', "\n       "))));
            text.extend(trial.hint.as_ref().map(|hint| format!("       hint: {hint}\n")));
            terminal.print(text.as_bytes())?;
        }
        let asked: u64 = trials.iter().map(|trial| trial.asked).sum();
        let recorded = match asked {
            0 => String::new(),
            asked => format!("; {} to models, whose answers are recorded", words::plural(asked, "request")),
        };
        let passed = trials.len() - failed;
        terminal.say(&format!(
            "{} passed, {} failed{recorded}",
            words::count(passed as u64),
            words::count(failed as u64)
        ));
    }
    Ok(if failed > 0 { exit::ROWS } else { exit::DONE })
}
