//! The table of a file of snippets.

use super::{Form, Needs, Shape, may};

/// A file of snippets.
pub(crate) static SNIPPETS: Shape = Shape {
    what: "a file of snippets",
    doc: "The snippets that all playbooks beside this file may use.",
    needs: Needs::Nothing,
    keys: &[
        may(
            "conditions",
            Form::Pairs(&Form::Parameter, &Form::Expression),
            "Conditions with names, in CEL: `from_outside: \"!event.source.ip.isPrivate()\"`. `condition.from_outside` stands \
             for it in an expression of a playbook, and in other conditions.",
        ),
        may(
            "blocks",
            Form::Pairs(&Form::Name, &Form::Any),
            "Values with names: `careful: { risk_min: high }`. `{ use: careful }` stands for it in a playbook, and in other \
             blocks; keys beside `use` are instead of those in it; in a list, a block that is a list is as many entries.",
        ),
    ],
};
