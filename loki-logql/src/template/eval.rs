//! Evaluates pipelines: operands, fields, calls with typed arguments.

use bumpalo::collections::Vec as BumpVec;

use super::ast::{Command, Operand, OperandKind, Pipeline};
use super::error::{CallError, Failure};
use super::functions::{self, Function, Kind, Param};
use super::literal::Natural;
use super::machine::{At, Executed, Machine};
use super::value::{IntType, Value};

/// Bytes of argument text that count as one step of work.
const BYTES_PER_STEP: usize = 1024;

/// What a function or method is applied to.
#[derive(Clone, Copy)]
struct Arguments<'e> {
    /// Operands written behind it.
    operands: &'e [Operand],
    /// The value piped into it.
    piped: Option<Value<'e>>,
    dot: Value<'e>,
    /// What errors inside the call point at.
    at: At<'e>,
    /// The value whose method it is.
    receiver: Option<Value<'e>>,
}

impl Arguments<'_> {
    fn is_empty(&self) -> bool {
        self.operands.is_empty() && self.piped.is_none()
    }
}

impl<'e> Machine<'e> {
    /// The value of a pipeline, which also goes to its variables.
    pub(super) fn pipeline(&mut self, dot: Value<'e>, pipeline: &'e Pipeline) -> Executed<Value<'e>> {
        self.at = At::Pipeline(pipeline);
        let mut piped = None;
        for command in &pipeline.commands {
            piped = Some(self.command(dot, command, piped)?.unboxed());
        }
        let value = piped.unwrap_or(Value::Absent);
        for variable in &pipeline.variables {
            if pipeline.assigns {
                self.assign(variable.id, value)?;
            } else {
                self.declare(variable.id, value);
            }
        }
        Ok(value)
    }

    fn command(&mut self, dot: Value<'e>, command: &'e Command, piped: Option<Value<'e>>) -> Executed<Value<'e>> {
        let (first, operands) = (&command.operands[0], &command.operands[1..]);
        let at = At::Operand(first);
        let arguments = Arguments { operands, piped, dot, at, receiver: None };
        match &first.kind {
            OperandKind::Field(path) => {
                self.at = at;
                self.fields(dot, path, arguments)
            }
            OperandKind::Chain(inner, path) => {
                self.at = at;
                let receiver = self.chain_head(dot, inner)?;
                self.fields(receiver, path, arguments)
            }
            OperandKind::Function(function) => {
                self.at = at;
                self.call(function, Arguments { at: At::Command(command), ..arguments })
            }
            OperandKind::Pipeline(pipeline) => {
                expect_no_arguments(first, arguments)?;
                self.deeper(|machine| machine.pipeline(dot, pipeline))
            }
            OperandKind::Variable { id, path, .. } => {
                self.at = at;
                let value = *self.variable(*id)?;
                if path.is_empty() {
                    expect_no_arguments(first, arguments)?;
                    return Ok(value);
                }
                self.fields(value, path, arguments)
            }
            _ => {
                self.at = at;
                expect_no_arguments(first, arguments)?;
                literal(dot, first)
            }
        }
    }

    /// The value in front of a chain of fields.
    fn chain_head(&mut self, dot: Value<'e>, operand: &'e Operand) -> Executed<Value<'e>> {
        self.at = At::Operand(operand);
        match &operand.kind {
            OperandKind::Pipeline(pipeline) => self.deeper(|machine| machine.pipeline(dot, pipeline)),
            OperandKind::Function(function) => {
                let arguments = Arguments { operands: &[], piped: None, dot, at: At::Operand(operand), receiver: None };
                self.call(function, arguments)
            }
            _ => literal(dot, operand),
        }
    }

    /// Follows `path` from `receiver`; the arguments belong to its last part.
    fn fields(
        &mut self,
        mut receiver: Value<'e>,
        path: &'e [Box<str>],
        arguments: Arguments<'e>,
    ) -> Executed<Value<'e>> {
        let Some((last, inner)) = path.split_last() else { return Ok(receiver) };
        for name in inner {
            let none = Arguments { operands: &[], piped: None, ..arguments };
            receiver = self.field(receiver, name, none)?;
        }
        self.field(receiver, last, arguments)
    }

    fn field(&mut self, receiver: Value<'e>, name: &'e str, arguments: Arguments<'e>) -> Executed<Value<'e>> {
        let value = receiver.unboxed();
        if value.is_absent() {
            return match receiver {
                Value::Boxed(_) => Err(Failure::NilField(name.into())),
                _ => Ok(Value::Absent),
            };
        }
        match value {
            Value::Labels(_) | Value::Object(_) if !arguments.is_empty() => Err(Failure::NotAMethod(name.into())),
            Value::Labels(labels) => Ok(Value::String(labels.field(name).unwrap_or_default().as_bytes())),
            Value::Object(members) => Ok(Value::member(members, name.as_bytes())),
            value => match functions::find_method(value, name)? {
                Some(method) => self.call(method, Arguments { receiver: Some(value), ..arguments }),
                None => Err(Failure::NoField { field: name.into(), type_name: receiver.type_name() }),
            },
        }
    }

    fn call(&mut self, function: &'static Function, arguments: Arguments<'e>) -> Executed<Value<'e>> {
        check_count(function, arguments)?;
        match function.kind {
            Kind::And => self.short_circuit(arguments, false),
            Kind::Or => self.short_circuit(arguments, true),
            Kind::Call => {
                let values = self.arguments(function, arguments)?;
                self.at = arguments.at;
                let error = Box::new(not_a_function(&values, arguments));
                Err(Failure::Calling { name: function.name, error })
            }
            Kind::Plain(body) | Kind::Pattern(body) => {
                let values = self.arguments(function, arguments)?;
                let bytes: usize = values.iter().map(|value| text_len(*value)).sum();
                self.spend((bytes / BYTES_PER_STEP) as u64)?;
                body(&mut self.cx, &values).map_err(|error| {
                    self.at = arguments.at;
                    Failure::Calling { name: function.name, error: Box::new(error) }
                })
            }
        }
    }

    /// The first argument whose truth is `wanted`, or the last argument.
    fn short_circuit(&mut self, arguments: Arguments<'e>, wanted: bool) -> Executed<Value<'e>> {
        let mut value = Value::Absent;
        for operand in arguments.operands {
            value = self.argument(arguments.dot, Param::Reflect, operand)?;
            if value.is_true() == wanted {
                return Ok(value);
            }
        }
        Ok(arguments.piped.unwrap_or(value))
    }

    fn arguments(&mut self, function: &Function, arguments: Arguments<'e>) -> Executed<BumpVec<'e, Value<'e>>> {
        let Arguments { operands, piped, dot, receiver, .. } = arguments;
        let mut values = BumpVec::with_capacity_in(operands.len() + 2, self.cx.bump);
        values.extend(receiver);
        for (index, operand) in operands.iter().enumerate() {
            let value = self.argument(dot, param(function, index), operand)?;
            values.push(value);
        }
        if let Some(piped) = piped {
            values.push(checked(piped, param(function, operands.len()))?);
        }
        Ok(values)
    }

    /// The value of `operand` as an argument of the given type.
    fn argument(&mut self, dot: Value<'e>, param: Param, operand: &'e Operand) -> Executed<Value<'e>> {
        let at = At::Operand(operand);
        self.at = at;
        let none = Arguments { operands: &[], piped: None, dot, at, receiver: None };
        let value = match &operand.kind {
            OperandKind::Dot => dot,
            OperandKind::Nil if param.takes_nil() => return Ok(Value::Absent),
            OperandKind::Nil => return Err(Failure::AssignNil(param.type_name())),
            OperandKind::Field(path) => self.fields(dot, path, none)?,
            OperandKind::Variable { id, path, .. } => {
                let value = *self.variable(*id)?;
                self.fields(value, path, none)?
            }
            OperandKind::Pipeline(pipeline) => self.deeper(|machine| machine.pipeline(dot, pipeline))?,
            OperandKind::Function(function) => self.call(function, none)?,
            OperandKind::Chain(inner, path) => {
                let receiver = self.chain_head(dot, inner)?;
                self.fields(receiver, path, none)?
            }
            OperandKind::Bool(_) | OperandKind::Number(_) | OperandKind::String { .. } => {
                return constant(param, operand);
            }
        };
        checked(value, param)
    }
}

fn expect_no_arguments(operand: &Operand, arguments: Arguments<'_>) -> Executed {
    if arguments.is_empty() { Ok(()) } else { Err(Failure::NotAFunction(operand.to_string().into())) }
}

/// The value of a constant or the dot.
fn literal<'e>(dot: Value<'e>, operand: &'e Operand) -> Executed<Value<'e>> {
    Ok(match &operand.kind {
        OperandKind::Dot => dot,
        OperandKind::Bool(value) => Value::Bool(*value),
        OperandKind::String { value, .. } => Value::String(value),
        OperandKind::Number(number) => match number.natural() {
            Natural::Int(value) => Value::int(value),
            Natural::Float(value) => Value::Float(value),
            Natural::Complex(real, imaginary) => Value::Complex(real, imaginary),
            Natural::Overflow => return Err(Failure::Overflows(number.source.clone())),
        },
        _ => return Err(Failure::NilCommand),
    })
}

/// A constant as an argument; numbers take the type that is asked for.
fn constant(param: Param, operand: &Operand) -> Executed<Value<'_>> {
    let expected = |kind| Err(Failure::Expected { kind, found: operand.to_string().into() });
    match (param, &operand.kind) {
        (Param::Any | Param::Reflect, _) => literal(Value::Absent, operand),
        (Param::String, OperandKind::String { value, .. }) => Ok(Value::String(value)),
        (Param::String, _) => expected("string"),
        (Param::Int | Param::Duration, kind) => {
            let int = if let OperandKind::Number(number) = kind { number.int } else { None };
            let int_type = if param == Param::Int { IntType::Int } else { IntType::Duration };
            int.map_or_else(|| expected("integer"), |int| Ok(Value::Int(int, int_type)))
        }
        (Param::Float, kind) => {
            let float = if let OperandKind::Number(number) = kind { number.float } else { None };
            float.map_or_else(|| expected("float"), |float| Ok(Value::Float(float)))
        }
        (Param::Time | Param::Location, _) => {
            Err(Failure::CannotHandle { found: operand.to_string().into(), expected: param.type_name() })
        }
    }
}

/// The type of the argument at `index`, which exists.
fn param(function: &Function, index: usize) -> Param {
    function.params.get(index).copied().or(function.rest).unwrap_or(Param::Any)
}

fn check_count(function: &Function, arguments: Arguments<'_>) -> Executed {
    let written = arguments.operands.len();
    let given = written + usize::from(arguments.piped.is_some());
    let want = function.params.len();
    let (fits, at_least, got) = match function.rest {
        Some(_) => (given >= want, true, written),
        None => (given == want, false, given),
    };
    if fits { Ok(()) } else { Err(Failure::ArgumentCount { name: function.name, at_least, want, got }) }
}

/// `value` as an argument of the given type.
fn checked(value: Value<'_>, param: Param) -> Executed<Value<'_>> {
    let inner = value.unboxed();
    match (value, inner) {
        (Value::Absent, _) if param.takes_nil() => Ok(Value::Absent),
        (Value::Absent, _) => Err(Failure::InvalidValue(param.type_name())),
        _ if param == Param::Reflect => Ok(value),
        _ if param == Param::Any => Ok(inner),
        (_, Value::Absent) => Err(Failure::WrongType { expected: param.type_name(), got: value.type_name() }),
        _ if param.accepts(inner) => Ok(inner),
        _ => Err(Failure::WrongType { expected: param.type_name(), got: inner.type_name() }),
    }
}

/// Why `call` fails: labels hold no functions.
fn not_a_function(values: &[Value<'_>], arguments: Arguments<'_>) -> CallError {
    let callee = values.first().map_or(Value::Absent, |value| value.unboxed());
    if callee.is_absent() {
        return CallError::CallOfNil;
    }
    let shown = match arguments.operands.first() {
        Some(operand) => operand.to_string(),
        None => match callee {
            Value::String(text) => String::from_utf8_lossy(text).into_owned(),
            callee => format!("<{} Value>", callee.type_name()),
        },
    };
    CallError::CallOf { callee: shown.into(), type_name: callee.type_name() }
}

fn text_len(value: Value<'_>) -> usize {
    match value {
        Value::String(text) | Value::Bytes(text) => text.len(),
        _ => 0,
    }
}
