//! `Content-Type`, read as Go's `mime.ParseMediaType` reads it.

/// Why a `Content-Type` is none, in Go's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MediaTypeError {
    /// There is none.
    #[error("mime: no media type")]
    Missing,
    /// A slash without a subtype.
    #[error("mime: expected token after slash")]
    NoSubtype,
    /// Something after the type that is not a slash.
    #[error("mime: expected slash after first token")]
    NoSlash,
    /// Something after the subtype that is not a semicolon.
    #[error("mime: unexpected content after media subtype")]
    Excess,
    /// Parameters that are not `name=value`.
    #[error("mime: invalid media parameter")]
    Parameter,
    /// A parameter that occurs twice.
    #[error("mime: duplicate parameter name")]
    DuplicateParameter,
}

/// The media type in lower case, without parameters, which must be well-formed all the same.
pub(crate) fn media_type(header: &str) -> Result<String, MediaTypeError> {
    let (base, parameters) = header.split_once(';').unwrap_or((header, ""));
    let base = base.trim().to_ascii_lowercase();
    check_base(&base)?;
    check_parameters(parameters)?;
    Ok(base)
}

fn check_base(base: &str) -> Result<(), MediaTypeError> {
    let (main, rest) = take_token(base);
    if main.is_empty() {
        return Err(MediaTypeError::Missing);
    }
    if rest.is_empty() {
        return Ok(());
    }
    let (subtype, rest) = take_token(rest.strip_prefix('/').ok_or(MediaTypeError::NoSlash)?);
    if subtype.is_empty() {
        return Err(MediaTypeError::NoSubtype);
    }
    if rest.is_empty() { Ok(()) } else { Err(MediaTypeError::Excess) }
}

fn check_parameters(text: &str) -> Result<(), MediaTypeError> {
    let mut names: Vec<String> = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, tail) = take_token(rest);
        let value = tail.strip_prefix('=').filter(|_| !name.is_empty()).ok_or(MediaTypeError::Parameter)?;
        let name = name.to_ascii_lowercase();
        if names.contains(&name) {
            return Err(MediaTypeError::DuplicateParameter);
        }
        names.push(name);
        let tail = match value.strip_prefix('"') {
            Some(quoted) => after_quotes(quoted)?,
            None => match take_token(value) {
                ("", _) => return Err(MediaTypeError::Parameter),
                (_, tail) => tail,
            },
        };
        rest = match tail.trim_start().strip_prefix(';') {
            Some(tail) => tail.trim_start(),
            None if tail.trim().is_empty() => "",
            None => return Err(MediaTypeError::Parameter),
        };
    }
    Ok(())
}

fn after_quotes(text: &str) -> Result<&str, MediaTypeError> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return Ok(&text[at + 1..]),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    Err(MediaTypeError::Parameter)
}

fn take_token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(c);
    text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_may_follow_but_must_be_well_formed() {
        for header in [
            "application/json",
            " Application/JSON ; charset=utf-8",
            "application/json;",
            "application/json; a=\"x;\\\"y\" ; b=c;",
        ] {
            assert_eq!(media_type(header).as_deref(), Ok("application/json"), "{header}");
        }
        assert_eq!(media_type("*/*").as_deref(), Ok("*/*"));
        assert_eq!(media_type("json").as_deref(), Ok("json"));
    }

    #[test]
    fn malformed_types_are_reported_as_go_does() {
        let cases = [
            ("", MediaTypeError::Missing),
            (" ; a=b", MediaTypeError::Missing),
            ("text/", MediaTypeError::NoSubtype),
            ("text plain", MediaTypeError::NoSlash),
            ("text/plain x", MediaTypeError::Excess),
            ("text/plain; charset", MediaTypeError::Parameter),
            ("text/plain; a=\"b", MediaTypeError::Parameter),
            ("text/plain; a=b c=d", MediaTypeError::Parameter),
            ("text/plain; a=b; A=c", MediaTypeError::DuplicateParameter),
        ];
        for (header, error) in cases {
            assert_eq!(media_type(header), Err(error), "{header}");
        }
    }
}
