//! Attributes that register a function with the test program that it is compiled into.
//!
//! The standard `#[test]` cannot decide at run time that a test is ignored, so the test programs
//! use the harness in `tests/common/harness.rs`. With these attributes, a test needs no entry in a
//! list.

use std::iter::Peekable;

use proc_macro::token_stream::IntoIter;
use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};

/// Registers a test.
///
/// * `#[trial]`: the name of the test is that of the function.
/// * `#[trial("a sentence")]`: the name of the test is the sentence.
/// * `#[trial(needs(fuse, root))]`, `#[trial("a sentence", needs(fuse))]`: the test is ignored if one
///   of these functions (`fn() -> Option<Missing>`) returns something.
///
/// The function has no arguments and returns nothing or a `Result<(), Failed>`.
#[proc_macro_attribute]
pub fn trial(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = match name_of(&item) {
        Ok(function) => function,
        Err(problem) => return refuse(&problem, Span::call_site()),
    };
    let (name, needs) = match parse(arguments) {
        Ok(parsed) => parsed,
        Err((problem, place)) => return refuse(&problem, place),
    };
    let name = name.unwrap_or_else(|| format!("{:?}", function.to_string()));
    let what = format!(
        "One {{
            name: {name},
            needs: &[{needs}],
            run: || crate::common::harness::Outcome::into_result({function}()),
        }}"
    );
    registered(item, &what)
}

/// Registers tests whose number is known only at run time, such as one for each volume of the
/// corpus. The function has no arguments and returns a `Vec<Trial>`.
#[proc_macro_attribute]
pub fn trials(_: TokenStream, item: TokenStream) -> TokenStream {
    match name_of(&item) {
        Ok(function) => registered(item, &format!("Many({function})")),
        Err(problem) => refuse(&problem, Span::call_site()),
    }
}

/// Registers a check that runs after all tests. The function has no arguments and returns a
/// `Result<(), String>`.
#[proc_macro_attribute]
pub fn afterwards(_: TokenStream, item: TokenStream) -> TokenStream {
    match name_of(&item) {
        Ok(function) => registered(item, &format!("Afterwards({function})")),
        Err(problem) => refuse(&problem, Span::call_site()),
    }
}

/// The function, followed by the code that registers it.
fn registered(item: TokenStream, what: &str) -> TokenStream {
    let registration = format!(
        "::inventory::submit! {{
            crate::common::harness::Registered {{
                module: module_path!(),
                line: line!(),
                what: crate::common::harness::What::{what},
            }}
        }}"
    );
    let registration: TokenStream = match registration.parse() {
        Ok(registration) => registration,
        Err(problem) => return refuse(&problem.to_string(), Span::call_site()),
    };
    // Compiler errors in the generated code then point at the function.
    let place = item.clone().into_iter().last();
    let place = place.map_or_else(Span::call_site, |last| last.span());
    item.into_iter().chain(at(registration, place)).collect()
}

/// The same tokens, with names resolved and line numbers taken at this span.
fn at(tokens: TokenStream, place: Span) -> TokenStream {
    let moved = tokens.into_iter().map(|mut token| {
        if let TokenTree::Group(group) = &token {
            token = Group::new(group.delimiter(), at(group.stream(), place)).into();
        }
        token.set_span(place);
        token
    });
    moved.collect()
}

/// The name of the function that follows the first `fn`.
fn name_of(item: &TokenStream) -> Result<Ident, String> {
    let mut tokens = item.clone().into_iter();
    let keyword =
        |token: TokenTree| matches!(token, TokenTree::Ident(word) if word.to_string() == "fn");
    if !tokens.any(keyword) {
        return Err("only a function can be a test".to_owned());
    }
    match tokens.next() {
        Some(TokenTree::Ident(name)) => Ok(name),
        _ => Err("a function without a name".to_owned()),
    }
}

/// The name as a literal, and the arguments of `needs(…)` as source text.
fn parse(arguments: TokenStream) -> Result<(Option<String>, String), (String, Span)> {
    let mut tokens = arguments.into_iter().peekable();
    let name = match tokens.peek() {
        Some(TokenTree::Literal(_)) => tokens.next().map(|name| name.to_string()),
        _ => None,
    };
    if name.is_some() {
        skip_comma(&mut tokens);
    }
    let mut needs = String::new();
    match (tokens.next(), tokens.next()) {
        (None, _) => {}
        (Some(TokenTree::Ident(word)), Some(TokenTree::Group(group)))
            if word.to_string() == "needs" && group.delimiter() == Delimiter::Parenthesis =>
        {
            needs = group.stream().to_string();
        }
        (Some(other), _) => {
            return Err(("expected needs(…)".to_owned(), other.span()));
        }
    }
    match tokens.next() {
        Some(other) => Err(("expected nothing more".to_owned(), other.span())),
        None => Ok((name, needs)),
    }
}

fn skip_comma(tokens: &mut Peekable<IntoIter>) {
    if matches!(tokens.peek(), Some(TokenTree::Punct(comma)) if comma.as_char() == ',') {
        tokens.next();
    }
}

/// A compiler error at this span.
fn refuse(problem: &str, place: Span) -> TokenStream {
    let error: Result<TokenStream, _> = format!("::core::compile_error! {{ {problem:?} }}").parse();
    error.map_or_else(|_| TokenStream::new(), |error| at(error, place))
}
