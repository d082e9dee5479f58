//! Explains what is wrong with a mistyped recovery password, without a volume:
//! `cargo run --example recovery_check`.

use fve::recovery_password::{Options, check_text};

fn main() {
    // The example of the libbde documentation, with one digit wrong.
    let typed = "471207-278498-422126-177177-561902-537405-468006-693451";
    let check = check_text(typed, &Options::default());
    println!("{}", check.result);
    for password in &check.passwords {
        for block in password
            .blocks
            .iter()
            .filter(|block| !block.verdict.is_valid())
        {
            println!("block {} {}", block.index, block.verdict);
        }
        for suggestion in password.expose_suggestions(3) {
            println!("perhaps {}", suggestion.password.expose_digits().expose());
        }
    }
}
