//! Functions on values of any kind: `len`, `index`, `slice`, printing, `default`, JSON.

use super::super::error::CallError;
use super::super::value::{IntType, Value, count_labels};
use super::super::{json, printf};
use super::{Called, Context, Function, Param, any, string};

pub(super) static FUNCTIONS: &[Function] = &[
    Function::new("len", &[Param::Reflect], len),
    Function::variadic("index", &[Param::Reflect], Param::Reflect, index),
    Function::variadic("slice", &[Param::Reflect], Param::Reflect, slice),
    Function::variadic("print", &[], Param::Any, |cx, args| cx.string(|sink| printf::sprint(sink, args))),
    Function::variadic("println", &[], Param::Any, |cx, args| cx.string(|sink| printf::sprintln(sink, args))),
    Function::variadic("printf", &[Param::String], Param::Any, printf),
    Function::variadic("default", &[Param::Any], Param::Any, |_, args| Ok(default(args))),
    Function::new("fromJson", &[Param::String], |cx, args| Ok(json::parse(cx.bump, string(args, 0))?)),
];

fn len<'e>(_: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    let length = match args[0] {
        Value::Absent => return Err(CallError::LenOfNothing),
        Value::Boxed(Value::Absent) => return Err(CallError::OfNilPointer("len")),
        value => match value.unboxed() {
            Value::String(text) | Value::Bytes(text) => text.len(),
            Value::Labels(labels) => count_labels(labels),
            Value::List(items) => items.len(),
            Value::Object(members) => members.len(),
            other => return Err(CallError::LenOf(pointed_type_name(other))),
        },
    };
    Ok(Value::int(length as i64))
}

fn index<'e>(_: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    let mut item = args[0].unboxed();
    if item.is_absent() {
        return Err(CallError::OfNil("index"));
    }
    for index in &args[1..] {
        let index = index.unboxed();
        item = match item.unboxed() {
            Value::Absent => return Err(CallError::OfNilPointer("index")),
            Value::String(text) | Value::Bytes(text) => {
                let byte = text.get(position(index, text.len())?).copied();
                let byte = byte.ok_or(CallError::ReflectIndexRange("string"))?;
                Value::Int(byte.into(), IntType::Uint8)
            }
            Value::List(items) => {
                let item = items.get(position(index, items.len())?);
                Value::Boxed(item.ok_or(CallError::ReflectIndexRange("slice"))?)
            }
            Value::Labels(labels) => {
                let name = std::str::from_utf8(key(index)?).ok();
                Value::String(name.and_then(|name| labels.field(name)).unwrap_or_default().as_bytes())
            }
            Value::Object(members) => Value::member(members, key(index)?),
            other => {
                let type_name = pointed_type_name(other);
                return Err(CallError::NotACollection { verb: "index", type_name });
            }
        };
    }
    Ok(item)
}

/// The name of the type, or of what it points to.
fn pointed_type_name(value: Value<'_>) -> &'static str {
    let name = value.type_name();
    name.strip_prefix('*').unwrap_or(name)
}

/// `index` as a position in something of the given length, which itself is allowed.
fn position(index: Value<'_>, length: usize) -> Result<usize, CallError> {
    match index {
        Value::Int(index, _) => {
            usize::try_from(index).ok().filter(|i| *i <= length).ok_or(CallError::IndexRange(index))
        }
        Value::Absent => Err(CallError::IndexNil),
        other => Err(CallError::IndexType(other.type_name())),
    }
}

/// `index` as the name of a member.
fn key(index: Value<'_>) -> Result<&[u8], CallError> {
    match index {
        Value::String(name) => Ok(name),
        Value::Absent => Err(CallError::KeyNil),
        other => Err(CallError::KeyType(other.type_name())),
    }
}

fn slice<'e>(_: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    let indexes = &args[1..];
    let item = args[0].unboxed();
    if item.is_absent() {
        return Err(CallError::OfNil("slice"));
    }
    if indexes.len() > 3 {
        return Err(CallError::SliceIndexes(indexes.len()));
    }
    let length = match item {
        Value::String(_) if indexes.len() == 3 => return Err(CallError::ThreeIndexString),
        Value::String(text) | Value::Bytes(text) => text.len(),
        Value::List(items) => items.len(),
        other => {
            return Err(CallError::NotACollection { verb: "slice", type_name: pointed_type_name(other) });
        }
    };
    let mut bounds = [0, length, length];
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        // Unlike `index`, Go does not look into the box here.
        *bound = position(*index, length)?;
    }
    let [from, to, capacity] = bounds;
    if from > to {
        return Err(CallError::SliceOrder(from as i64, to as i64));
    }
    if to > capacity {
        return Err(CallError::SliceOrder(to as i64, capacity as i64));
    }
    Ok(match item {
        Value::String(text) => Value::String(&text[from..to]),
        Value::Bytes(text) => Value::Bytes(&text[from..to]),
        Value::List(items) => Value::List(&items[from..to]),
        other => other,
    })
}

fn printf<'e>(cx: &mut Context<'e>, args: &[Value<'e>]) -> Called<'e> {
    let format = string(args, 0);
    cx.string(|sink| printf::sprintf(sink, format, &args[1..]))
}

/// The second argument unless it is empty.
fn default<'e>(args: &[Value<'e>]) -> Value<'e> {
    let given = any(args, 1);
    if given.is_true() { given } else { any(args, 0) }
}
