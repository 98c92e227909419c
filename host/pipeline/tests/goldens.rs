//! Every pipeline under `tests/mistakes` is wrong in the way that the `.txt` beside it shows, and every one under
//! `tests/pipelines` reads as the `.json` beside it. `DFLOW_BLESS=1` writes those files anew.
//!
//! Comments at the top say what comes from outside: `# -p KEY=VALUE`, and `# env NAME=VALUE`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use dflow_pipeline::{Draft, Mistakes, Pipeline, render, written};

fn pipelines(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the folder is in the repository")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no cases in {}", folder.display());
    files
}

/// Reads a case; the file goes by its name alone, so that goldens don't depend on where the repository is.
fn read(path: &Path) -> Result<Pipeline, Mistakes> {
    let text = fs::read_to_string(path).expect("a readable case");
    read_text(path, &text).whole()
}

fn read_text(path: &Path, text: &str) -> Draft {
    let pairs = |start: &str| -> Vec<(String, String)> {
        text.lines()
            .filter_map(|line| line.strip_prefix(start)?.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    let variables = pairs("# env ");
    let env = |name: &str| variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let name = path.file_name().and_then(|name| name.to_str()).expect("cases have plain names");
    written::read(name, text, &pairs("# -p "), &env)
}

/// Compares with the golden beside a case, or writes it; gives back what differs.
fn compare(case: &Path, ending: &str, actual: &str) -> Option<String> {
    let golden = case.with_extension(ending);
    if env::var_os("DFLOW_BLESS").is_some() {
        fs::write(&golden, actual).expect("a writable golden");
        return None;
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    (actual != expected).then(|| format!("{}:\n--- expected\n{expected}\n--- actual\n{actual}", golden.display()))
}

#[test]
fn mistakes_are_shown_as_their_goldens() {
    let differences: Vec<String> = pipelines("mistakes")
        .iter()
        .filter_map(|case| match read(case) {
            Ok(_) => Some(format!("{} has no mistake", case.display())),
            Err(mistakes) => compare(case, "txt", &render(&mistakes, false, 100)),
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn good_pipelines_have_the_form_of_their_goldens() {
    let mut differences = Vec::new();
    for case in pipelines("pipelines") {
        let pipeline = read(&case).unwrap_or_else(|mistakes| panic!("{}", render(&mistakes, false, 100)));
        let json = serde_json::to_string_pretty(&pipeline).expect("a pipeline is JSON");
        let again: Pipeline = serde_json::from_str(&json).expect("a pipeline's JSON is a pipeline");
        assert_eq!(again, pipeline, "{}", case.display());
        differences.extend(compare(&case, "json", &(json + "\n")));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn colours_change_nothing_but_colours() {
    let case = pipelines("mistakes").into_iter().find(|case| case.ends_with("many_at_once.toml"));
    let mistakes = read(&case.expect("the case is there")).expect_err("it has mistakes");
    let coloured = render(&mistakes, true, 100);
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, code)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = code.split_once('m').expect("a colour code ends").1;
    }
    plain.push_str(rest);
    assert_ne!(coloured, plain);
    assert_eq!(plain, render(&mistakes, false, 100));
}

/// Whatever a text is, it is either a whole pipeline or has mistakes that can be shown.
#[test]
fn no_text_falls_between_a_pipeline_and_mistakes() {
    let (mut good, mut bad) = (0, 0);
    for case in [pipelines("mistakes"), pipelines("pipelines")].concat() {
        let text = fs::read_to_string(&case).expect("a readable case");
        let cuts = text.char_indices().map(|(i, _)| text[..i].to_owned());
        let lines: Vec<&str> = text.lines().collect();
        let gaps = (0..lines.len()).map(|gap| [&lines[..gap], &lines[gap + 1..]].concat().join("\r\n"));
        for text in cuts.chain(gaps) {
            let draft = read_text(&case, &text);
            let source = draft.text.clone().expect("it was read from a text");
            match draft.whole() {
                Ok(pipeline) => {
                    good += 1;
                    let written =
                        source.files[0].places.keys().filter(|at| at.parts().len() == 2 && at.parts()[0] == "stage");
                    assert_eq!(pipeline.stage.len(), written.count(), "{text}");
                }
                Err(mistakes) => {
                    bad += 1;
                    let shown = render(&mistakes, false, 60);
                    assert!(!mistakes.list.is_empty() && !shown.contains("Failed to read"), "{text}\n{shown}");
                }
            }
        }
    }
    assert!(good > 100 && bad > 1000, "{good} good, {bad} bad");
}
