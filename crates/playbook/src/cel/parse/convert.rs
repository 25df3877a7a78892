//! From the tree of the `cel` crate to ours, with the bytes of each node.

use std::ops::Range;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators};
use staunch_model::Printable;

use super::super::Reporter;
use super::super::tokens::{Kind as TokenKind, Token};
use super::{Comparison, Segment, Syntax, SyntaxKind};
use crate::limits;

/// The conversion of one expression.
pub(super) struct Conversion<'c, 'r, 'a> {
    pub(super) text: &'c str,
    pub(super) tokens: &'c [Token],
    pub(super) info: &'c SourceInfo,
    pub(super) reporter: &'c mut Reporter<'r, 'a>,
    pub(super) nodes: usize,
}

impl Conversion<'_, '_, '_> {
    pub(super) fn node(&mut self, node: &IdedExpr) -> Option<Syntax> {
        self.nodes += 1;
        if self.nodes > limits::EXPRESSION_NODES_MAX {
            if self.nodes == limits::EXPRESSION_NODES_MAX + 1 {
                let message = format!("the expression has more than {} parts", limits::EXPRESSION_NODES_MAX);
                self.reporter
                    .error_with_hint("P041", &(0..1), message, "split it, or use one regular expression");
            }
            return None;
        }
        let own = self.own(node.id);
        match &node.expr {
            Expr::Literal(literal) => self.literal(literal, own),
            Expr::Ident(name) => {
                let segment = Segment {
                    key: name.as_str().into(),
                    span: own.clone(),
                };
                Some(Syntax {
                    span: own,
                    kind: SyntaxKind::Path(vec![segment]),
                })
            }
            Expr::List(list) => {
                let items: Vec<_> = list.elements.iter().map(|it| self.node(it)).collect();
                let span = own.start..self.closing(own.start);
                Some(Syntax {
                    span,
                    kind: SyntaxKind::List(items.into_iter().collect::<Option<_>>()?),
                })
            }
            Expr::Select(select) if select.test => {
                let operand = self.node(&select.operand)?;
                let end = self.closing(own.start);
                let last = self.token_before(end.saturating_sub(1));
                let path = self.member(operand, &select.field, last)?;
                let name = self.token_before(own.start);
                Some(Syntax {
                    span: name.start..end,
                    kind: SyntaxKind::Has(Box::new(path)),
                })
            }
            Expr::Select(select) => {
                let operand = self.node(&select.operand)?;
                let name = self.token_after(own.end);
                self.member(operand, &select.field, name)
            }
            Expr::Call(call) => self.call(call, own),
            Expr::Comprehension(_) => {
                let name = self.token_before(own.start);
                let message = format!("`{}` is not supported", &self.text[name.clone()]);
                self.unsupported(
                    &name,
                    message,
                    "look at single members with event.raw.list[0], or ask \"x\" in event.raw.list",
                )
            }
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => self.unsupported(
                &own,
                "maps and messages are not supported".to_owned(),
                "compare single fields",
            ),
        }
    }

    fn literal(&mut self, literal: &LiteralValue, mut span: Range<usize>) -> Option<Syntax> {
        // The parser places a negative number at its digits.
        let sign = self.token_before(span.start);
        let negative = matches!(literal, LiteralValue::Int(value) if *value.inner() < 0)
            || matches!(literal, LiteralValue::Double(value) if value.inner().is_sign_negative());
        if negative && &self.text[sign.clone()] == "-" {
            span.start = sign.start;
        }
        let kind = match literal {
            LiteralValue::Boolean(value) => SyntaxKind::Bool(*value.inner()),
            LiteralValue::Int(value) => SyntaxKind::Int(i128::from(*value.inner())),
            LiteralValue::UInt(value) => SyntaxKind::Int(i128::from(*value.inner())),
            LiteralValue::Double(value) => SyntaxKind::Float(*value.inner()),
            LiteralValue::String(value) => SyntaxKind::Text(value.inner().to_owned()),
            LiteralValue::Null => SyntaxKind::Null,
            LiteralValue::Bytes(_) => {
                return self.unsupported(
                    &span,
                    "bytes are not supported".to_owned(),
                    "write the text without the b before it",
                );
            }
        };
        Some(Syntax { span, kind })
    }

    fn call(&mut self, call: &CallExpr, own: Range<usize>) -> Option<Syntax> {
        let comparison = match call.func_name.as_str() {
            operators::EQUALS => Some(Comparison::Equal),
            operators::NOT_EQUALS => Some(Comparison::NotEqual),
            operators::LESS => Some(Comparison::Less),
            operators::LESS_EQUALS => Some(Comparison::LessOrEqual),
            operators::GREATER => Some(Comparison::Greater),
            operators::GREATER_EQUALS => Some(Comparison::GreaterOrEqual),
            _ => None,
        };
        // All arguments are converted before any is given up on, so that every mistake in them is reported.
        let receiver = call.target.as_ref().map(|it| self.node(it));
        let arguments: Vec<_> = call.args.iter().map(|it| self.node(it)).collect();
        let receiver = receiver.map_or(Some(None), |it| it.map(Some))?;
        let mut arguments = arguments.into_iter().collect::<Option<Vec<_>>>()?;
        if call.func_name == operators::INDEX && arguments.len() == 2 {
            let (operand, index) = pair(arguments)?;
            let span = operand.span.start..self.closing(own.start);
            return self.indexed(operand, &index, span);
        }
        let span = |first: &Syntax, last: &Syntax| first.span.start..last.span.end;
        match (comparison, call.func_name.as_str(), arguments.len()) {
            (Some(comparison), _, 2) => {
                let (left, right) = pair(arguments)?;
                Some(Syntax {
                    span: span(&left, &right),
                    kind: SyntaxKind::Compare(comparison, Box::new(left), Box::new(right)),
                })
            }
            (_, operators::IN, 2) => {
                let (left, right) = pair(arguments)?;
                Some(Syntax {
                    span: span(&left, &right),
                    kind: SyntaxKind::In(Box::new(left), Box::new(right)),
                })
            }
            (_, name @ (operators::LOGICAL_AND | operators::LOGICAL_OR), 2) => {
                let (left, right) = pair(arguments)?;
                Some(join(name == operators::LOGICAL_AND, left, right))
            }
            (_, operators::LOGICAL_NOT, 1) => {
                let operand = arguments.pop()?;
                Some(Syntax {
                    span: own.start..operand.span.end,
                    kind: SyntaxKind::Not(Box::new(operand)),
                })
            }
            (_, name, _)
                if name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte)) =>
            {
                let name_span = self.token_before(own.start);
                let start = receiver.as_ref().map_or(name_span.start, |it| it.span.start);
                let kind = SyntaxKind::Call {
                    receiver: receiver.map(Box::new),
                    name: name.to_owned(),
                    name_span,
                    arguments,
                };
                Some(Syntax {
                    span: start..self.closing(own.start),
                    kind,
                })
            }
            _ => self.unsupported(
                &own,
                "this operator is not supported".to_owned(),
                "use comparisons, &&, ||, ! and in",
            ),
        }
    }

    fn indexed(&mut self, operand: Syntax, index: &Syntax, span: Range<usize>) -> Option<Syntax> {
        let key = match &index.kind {
            SyntaxKind::Text(key) => key.clone(),
            SyntaxKind::Int(number) if *number >= 0 => number.to_string(),
            _ => {
                let hint = "write a text or a number from 0 between the brackets";
                self.reporter
                    .error_with_hint("P046", &index.span, "this is not a key", hint);
                return None;
            }
        };
        let path = self.member(operand, &key, index.span.clone())?;
        Some(Syntax { span, kind: path.kind })
    }

    fn member(&mut self, operand: Syntax, key: &str, span: Range<usize>) -> Option<Syntax> {
        let SyntaxKind::Path(mut segments) = operand.kind else {
            self.reporter.error(
                "P046",
                &span,
                format!("`{}` is a member of something that has none", Printable(key)),
            );
            return None;
        };
        segments.push(Segment {
            key: key.into(),
            span: span.clone(),
        });
        Some(Syntax {
            span: operand.span.start..span.end,
            kind: SyntaxKind::Path(segments),
        })
    }

    fn unsupported(&mut self, span: &Range<usize>, message: String, hint: &str) -> Option<Syntax> {
        self.reporter.error_with_hint("P042", span, message, hint);
        None
    }

    /// The bytes of the token that the parser noted for a node.
    fn own(&self, id: u64) -> Range<usize> {
        let (start, last) = self.info.offset_for(id).unwrap_or_default();
        let start = (start as usize).min(self.text.len());
        start..(last as usize + 1).clamp(start, self.text.len())
    }

    /// The end of the bracket that opens at `open`.
    fn closing(&self, open: usize) -> usize {
        self.tokens
            .iter()
            .find(|token| token.span.start == open)
            .map_or(open, |token| token.closes)
    }

    fn token_before(&self, at: usize) -> Range<usize> {
        self.tokens
            .iter()
            .rev()
            .find(|token| token.span.end <= at)
            .map_or(at..at, |token| token.span.clone())
    }

    fn token_after(&self, at: usize) -> Range<usize> {
        let mut after = self
            .tokens
            .iter()
            .filter(|token| token.span.start >= at && token.kind != TokenKind::Sign);
        after.next().map_or(at..at, |token| token.span.clone())
    }
}

fn pair(arguments: Vec<Syntax>) -> Option<(Syntax, Syntax)> {
    let mut arguments = arguments.into_iter();
    Some((arguments.next()?, arguments.next()?))
}

/// Joins two operands of `&&` or `||`, taking the operands of the same operator out of them, in their order.
fn join(and: bool, left: Syntax, right: Syntax) -> Syntax {
    let span = left.span.start..right.span.end;
    let mut operands = Vec::new();
    for side in [left, right] {
        match side.kind {
            SyntaxKind::And(inner) if and => operands.extend(inner),
            SyntaxKind::Or(inner) if !and => operands.extend(inner),
            _ => operands.push(side),
        }
    }
    Syntax {
        span,
        kind: if and {
            SyntaxKind::And(operands)
        } else {
            SyntaxKind::Or(operands)
        },
    }
}
