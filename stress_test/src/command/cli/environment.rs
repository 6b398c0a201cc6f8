//! Which environment variables count beside a command line.
//!
//! Knows clap's own table of what excludes what; no flag but those that need another one.
//!
//! Rule: the command line wins. A variable for which it leaves no room is not looked at; two
//! variables, or two flags, that exclude each other are wrong usage.

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};

use super::Cli;

/// Flags that need another one, which clap does not tell. Without that one, a variable for them
/// has no room.
const NEEDS: [(&str, &str); 5] = [
    ("workers", "spawn"),
    ("queue", "spawn"),
    ("server_arg", "spawn"),
    ("send", "expect"),
    ("expect", "send"),
];

/// Reads `arguments`, the first of which is the program's name.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let command = Cli::command();
    // What is wrong is found below. This tells only where each value comes from.
    let tolerant = command.clone().ignore_errors(true);
    let given = tolerant.try_get_matches_from(arguments)?;
    let command = match given.subcommand() {
        Some((name, inner)) => command.mut_subcommand(name, |command| without(command, inner)),
        None => without(command, &given),
    };
    Cli::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

/// `command`, blind to the variables for which there is no room beside what is `given`.
fn without(command: Command, given: &ArgMatches) -> Command {
    let arguments: Vec<&Arg> = command.get_arguments().collect();
    let name = |argument: &Arg| argument.get_id().as_str().to_owned();
    let source = |argument: &Arg| given.value_source(argument.get_id().as_str());
    let on_line = |argument: &Arg| source(argument) == Some(ValueSource::CommandLine);
    let excludes = |one: &Arg, other: &Arg| {
        let mut excluded = command.get_arg_conflicts_with(one).into_iter();
        excluded.any(|argument| argument.get_id() == other.get_id())
    };
    let is_overruled = |argument: &Arg| {
        let mut others = arguments.iter().filter(|other| on_line(other));
        others.any(|other| excludes(argument, other) || excludes(other, argument))
    };
    // STRESS_TEST_SPAWN=0 is the same as none.
    let is_off = |argument: &Arg| {
        let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
        is_switch
            && given.value_source(argument.get_id().as_str()).is_some()
            && !given.get_flag(argument.get_id().as_str())
    };
    let candidates = arguments.iter().filter(|argument| !on_line(argument));
    let without_room = candidates.filter(|argument| is_overruled(argument) || is_off(argument));
    let mut names: Vec<String> = without_room.map(|argument| name(argument)).collect();
    for (flag, needed) in NEEDS {
        let is_on_line = arguments
            .iter()
            .any(|argument| name(argument) == flag && on_line(argument));
        if names.iter().any(|name| name == needed) && !is_on_line {
            names.push(flag.to_owned());
        }
    }
    names.into_iter().fold(command, |command, name| {
        command.mut_arg(name, |argument| argument.env(Resettable::Reset))
    })
}
