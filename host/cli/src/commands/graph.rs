//! `dflow-host graph`: a pipeline's stages and what each reads, as text that others draw.

use std::{fmt::Write, sync::Arc};

use dflow_pipeline::{Name, Pipeline, Stage, Verb, exit};
use dflow_run::graph as edges;

use crate::{
    args::GraphFormat, failure::Failure, outside::Outside, settings::GraphSettings, terminal::Terminal, watch::what,
    words,
};

/// How long a path in a node may be.
const WIDTH: usize = 48;

/// Draws a pipeline.
pub(crate) fn graph(settings: &GraphSettings, outside: &Outside, terminal: &Arc<Terminal>) -> Result<u8, Failure> {
    let draft = settings.pipeline.read(outside)?;
    let edges = edges(&draft)?;
    let edges: Vec<(&Name, &Name)> =
        edges.iter().flat_map(|(to, from)| from.iter().map(move |from| (from, to))).collect();
    let drawn = match settings.format {
        GraphFormat::Mermaid => mermaid(&draft.pipeline, &edges),
        GraphFormat::Dot => dot(&draft.pipeline, &edges),
    };
    terminal.print(drawn.as_bytes())?;
    Ok(exit::DONE)
}

/// What stands in a stage's node: its name, and what it does.
fn label(name: &Name, stage: &Stage) -> [String; 2] {
    let what = what(&stage.verb);
    let does = match &stage.verb {
        Verb::Read(read) => {
            let more = if read.path.len() > 1 { " …" } else { "" };
            format!("{what} {}{more}", words::fit(read.path.first().map_or("", String::as_str), WIDTH))
        }
        Verb::Python(script) | Verb::Js(script) => match script.named() {
            Some(named) => format!("{what} {}", words::fit(&named, WIDTH)),
            None => what,
        },
        Verb::Command(command) => format!("{what} {}", words::fit(&command.text(), WIDTH)),
        Verb::Flow(flow) => format!("{what} {}", words::fit(&flow.path, WIDTH)),
        Verb::Write(write) => format!("{what} {}", words::fit(&write.path, WIDTH)),
        _ => what,
    };
    [name.to_string(), does]
}

/// Mermaid. Its names have a prefix, as some words (`graph`, `style`) can't be names there.
fn mermaid(pipeline: &Pipeline, edges: &[(&Name, &Name)]) -> String {
    let mut text = "flowchart LR\n".to_owned();
    for (name, stage) in &pipeline.stage {
        let (open, close) = match &stage.verb {
            verb if verb.is_source() => ("[(", ")]"),
            Verb::Write(_) => ("[/", "/]"),
            _ => ("[", "]"),
        };
        let label = label(name, stage).map(|line| mermaid_text(&line)).join("<br>");
        line(&mut text, format_args!("    s_{name}{open}\"{label}\"{close}"));
    }
    for (from, to) in edges {
        line(&mut text, format_args!("    s_{from} --> s_{to}"));
    }
    text
}

/// What Mermaid would take for marks of its own is written by the characters' names.
fn mermaid_text(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '"' => out.push_str("#quot;"),
            '#' => out.push_str("#35;"),
            '&' => out.push_str("#amp;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '`' => out.push_str("#96;"),
            c => out.push(c),
        }
        out
    })
}

fn dot(pipeline: &Pipeline, edges: &[(&Name, &Name)]) -> String {
    let mut text = format!("digraph {} {{\n    rankdir=LR\n    node [shape=box]\n", dot_text(&[&pipeline.name]));
    for (name, stage) in &pipeline.stage {
        let shape = match &stage.verb {
            verb if verb.is_source() => " shape=cylinder",
            Verb::Write(_) => " shape=note",
            _ => "",
        };
        let [first, second] = label(name, stage);
        line(&mut text, format_args!("    \"{name}\" [label={}{shape}]", dot_text(&[&first, &second])));
    }
    for (from, to) in edges {
        line(&mut text, format_args!("    \"{from}\" -> \"{to}\""));
    }
    text.push_str("}\n");
    text
}

/// Lines as a string of Graphviz's.
fn dot_text(lines: &[&str]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| line.replace('\\', "\\\\").replace('"', "\\\"")).collect();
    format!("\"{}\"", lines.join("\\n"))
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_is_escaped() {
        assert_eq!(mermaid_text("a\"b#c<d>&`"), "a#quot;b#35;c#lt;d#gt;#amp;#96;");
        assert_eq!(dot_text(&["a\"b", "c\\d"]), "\"a\\\"b\\nc\\\\d\"");
    }
}
