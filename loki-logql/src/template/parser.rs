//! Turns tokens into a tree, refusing what Go refuses with Go's words.

use hashbrown::HashMap;
use loki_core::labels::unquote_bytes;

use super::MAX_NESTING;
use super::ast::{
    Branch, Command, Definition, List, Node, Operand, OperandKind, Pipeline, ROOT_VARIABLE, TemplateCall, Tree,
    Variable, VariableId,
};
use super::error::{TemplateError, TemplateErrorKind};
use super::functions;
use super::lexer::{Keyword, Lexer, Token, TokenKind};
use super::literal::Number;

/// Parses `text`; the body of the template becomes the definition called `name`.
pub(super) fn parse(name: &str, text: &str) -> Result<Tree, TemplateError> {
    let mut parser = Parser {
        name,
        lexer: Lexer::new(text),
        pending: Vec::new(),
        line: 1,
        action_line: None,
        nesting: 0,
        scope: Scope::default(),
        variable_names: vec!["$".into()],
        variable_ids: HashMap::from_iter([("$", ROOT_VARIABLE)]),
        definitions: Vec::new(),
    };
    match parser.template() {
        Ok(()) => Ok(Tree { definitions: parser.definitions, variable_names: parser.variable_names }),
        Err(kind) => Err(TemplateError { name: name.into(), line: parser.line, kind }),
    }
}

type Parsed<T> = Result<T, TemplateErrorKind>;

struct Parser<'t> {
    name: &'t str,
    lexer: Lexer<'t>,
    /// Tokens read ahead, the next one last.
    pending: Vec<Token<'t>>,
    /// Line of the token read last.
    line: usize,
    /// Line of the action being read.
    action_line: Option<usize>,
    nesting: usize,
    scope: Scope,
    variable_names: Vec<Box<str>>,
    variable_ids: HashMap<&'t str, VariableId>,
    definitions: Vec<Definition>,
}

/// What is visible inside one definition.
struct Scope {
    /// Declared variables, innermost last.
    variables: Vec<VariableId>,
    range_depth: usize,
}

impl Default for Scope {
    fn default() -> Self {
        Self { variables: vec![ROOT_VARIABLE], range_depth: 0 }
    }
}

/// How a list of nodes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListEnd {
    End,
    Else,
}

impl ListEnd {
    fn source(self) -> &'static str {
        match self {
            Self::End => "{{end}}",
            Self::Else => "{{else}}",
        }
    }
}

/// What an action turned out to be.
enum Item {
    Node(Node),
    End(ListEnd),
}

impl<'t> Parser<'t> {
    fn template(&mut self) -> Parsed<()> {
        let mut body = List::new();
        while self.peek().kind != TokenKind::End {
            if self.peek().kind == TokenKind::LeftDelimiter {
                let delimiter = self.next();
                let token = self.next_non_space();
                if token.kind == TokenKind::Keyword(Keyword::Define) {
                    self.definition()?;
                    continue;
                }
                self.push_back(token);
                self.push_back(delimiter);
            }
            match self.text_or_action()? {
                Item::Node(node) => body.push(node),
                Item::End(end) => return Err(TemplateErrorKind::UnexpectedControl(end.source())),
            }
        }
        self.define(self.name.as_bytes().into(), body)
    }

    /// `{{define "name"}} … {{end}}`, from the name on.
    fn definition(&mut self) -> Parsed<()> {
        const CONTEXT: &str = "define clause";
        let name = self.next_non_space();
        if !matches!(name.kind, TokenKind::String | TokenKind::RawString) {
            return Err(self.unexpected(&name, CONTEXT));
        }
        let name = unquote_bytes(name.text)?;
        self.expect_right_delimiter(CONTEXT)?;
        let body = self.definition_body(CONTEXT)?;
        self.define(name.into(), body)
    }

    /// A body with a scope of its own, up to its `{{end}}`.
    fn definition_body(&mut self, context: &'static str) -> Parsed<List> {
        let outer = std::mem::take(&mut self.scope);
        let (body, end) = self.list()?;
        self.scope = outer;
        match end {
            ListEnd::End => Ok(body),
            ListEnd::Else => Err(TemplateErrorKind::ControlIn { control: end.source(), context }),
        }
    }

    /// Adds a definition. An empty one never replaces another, and may be replaced.
    fn define(&mut self, name: Box<[u8]>, body: List) -> Parsed<()> {
        let Some(existing) = self.definitions.iter_mut().find(|d| d.name == name) else {
            self.definitions.push(Definition { name, body });
            return Ok(());
        };
        if is_blank(&existing.body) {
            existing.body = body;
        } else if !is_blank(&body) {
            let name = String::from_utf8_lossy(&name).into();
            return Err(TemplateErrorKind::DuplicateDefinition(name));
        }
        Ok(())
    }

    /// Nodes up to `{{end}}` or `{{else}}`.
    fn list(&mut self) -> Parsed<(List, ListEnd)> {
        let mut nodes = List::new();
        self.nest()?;
        while self.peek_non_space().kind != TokenKind::End {
            match self.text_or_action()? {
                Item::Node(node) => nodes.push(node),
                Item::End(end) => {
                    self.nesting -= 1;
                    return Ok((nodes, end));
                }
            }
        }
        Err(TemplateErrorKind::UnexpectedEnd)
    }

    fn nest(&mut self) -> Parsed<()> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING { Err(TemplateErrorKind::TooDeep) } else { Ok(()) }
    }

    fn text_or_action(&mut self) -> Parsed<Item> {
        let token = self.next_non_space();
        match token.kind {
            TokenKind::Text => Ok(Item::Node(Node::Text(token.text.into()))),
            TokenKind::LeftDelimiter => {
                self.action_line = Some(token.line);
                let item = self.action()?;
                self.action_line = None;
                Ok(item)
            }
            _ => Err(self.unexpected(&token, "input")),
        }
    }

    fn action(&mut self) -> Parsed<Item> {
        let token = self.next_non_space();
        let TokenKind::Keyword(keyword) = token.kind else {
            self.push_back(token);
            return Ok(Item::Node(Node::Action(self.pipeline("command", &TokenKind::RightDelimiter)?)));
        };
        Ok(Item::Node(match keyword {
            Keyword::Block => self.block()?,
            Keyword::Break => {
                self.loop_control("break", "{{break}}")?;
                Node::Break
            }
            Keyword::Continue => {
                self.loop_control("continue", "{{continue}}")?;
                Node::Continue
            }
            Keyword::Else => return self.else_control(),
            Keyword::End => {
                self.expect_right_delimiter("end")?;
                return Ok(Item::End(ListEnd::End));
            }
            Keyword::If => Node::If(Box::new(self.branch("if")?)),
            Keyword::Range => Node::Range(Box::new(self.branch("range")?)),
            Keyword::With => Node::With(Box::new(self.branch("with")?)),
            Keyword::Template => self.template_call()?,
            Keyword::Define => return Err(self.unexpected(&token, "command")),
        }))
    }

    fn loop_control(&mut self, word: &'static str, context: &'static str) -> Parsed<()> {
        self.expect_right_delimiter(context)?;
        if self.scope.range_depth == 0 {
            return Err(TemplateErrorKind::OutsideRange(word));
        }
        Ok(())
    }

    fn else_control(&mut self) -> Parsed<Item> {
        // The `if` of `else if` stays: the branch that ends here reads it.
        let next = self.peek_non_space();
        if !matches!(next.kind, TokenKind::Keyword(Keyword::If | Keyword::With)) {
            self.expect_right_delimiter("else")?;
        }
        Ok(Item::End(ListEnd::Else))
    }

    /// `if`, `with` or `range` from its pipeline to its `{{end}}`.
    fn branch(&mut self, context: &'static str) -> Parsed<Branch> {
        let visible = self.scope.variables.len();
        let pipeline = self.pipeline(context, &TokenKind::RightDelimiter)?;
        let is_range = usize::from(context == "range");
        self.scope.range_depth += is_range;
        let (body, end) = self.list()?;
        self.scope.range_depth -= is_range;
        let otherwise = match end {
            ListEnd::End => List::new(),
            ListEnd::Else => self.otherwise(context)?,
        };
        self.scope.variables.truncate(visible);
        Ok(Branch { pipeline, body, otherwise })
    }

    /// What follows `{{else`; `else if` is an `if` that shares the `{{end}}`.
    fn otherwise(&mut self, context: &'static str) -> Parsed<List> {
        let node = match (context, self.peek().kind.clone()) {
            ("if", TokenKind::Keyword(Keyword::If)) => Node::If,
            ("with", TokenKind::Keyword(Keyword::With)) => Node::With,
            _ => {
                let (body, end) = self.list()?;
                return if end == ListEnd::End { Ok(body) } else { Err(TemplateErrorKind::SecondElse) };
            }
        };
        self.next();
        self.nest()?;
        let branch = self.branch(context)?;
        self.nesting -= 1;
        Ok(vec![node(Box::new(branch))])
    }

    /// `{{template "name" pipeline}}`, from the name on.
    fn template_call(&mut self) -> Parsed<Node> {
        const CONTEXT: &str = "template clause";
        let (at, name) = self.template_name(CONTEXT)?;
        let token = self.next_non_space();
        let pipeline = if token.kind == TokenKind::RightDelimiter {
            None
        } else {
            self.push_back(token);
            Some(self.pipeline(CONTEXT, &TokenKind::RightDelimiter)?)
        };
        Ok(Node::Template(Box::new(TemplateCall { at, name, pipeline })))
    }

    /// `{{block "name" pipeline}} … {{end}}`: a definition and its call in one.
    fn block(&mut self) -> Parsed<Node> {
        const CONTEXT: &str = "block clause";
        let (at, name) = self.template_name(CONTEXT)?;
        let pipeline = Some(self.pipeline(CONTEXT, &TokenKind::RightDelimiter)?);
        let body = self.definition_body(CONTEXT)?;
        self.define(name.clone(), body)?;
        Ok(Node::Template(Box::new(TemplateCall { at, name, pipeline })))
    }

    fn template_name(&mut self, context: &'static str) -> Parsed<(usize, Box<[u8]>)> {
        let token = self.next_non_space();
        match token.kind {
            TokenKind::String | TokenKind::RawString => Ok((token.at, unquote_bytes(token.text)?.into())),
            _ => Err(self.unexpected(&token, context)),
        }
    }

    fn pipeline(&mut self, context: &'static str, end: &TokenKind) -> Parsed<Pipeline> {
        self.nest()?;
        let at = self.peek_non_space().at;
        let mut pipeline = Pipeline { at, assigns: false, variables: Vec::new(), commands: Vec::new() };
        while self.declaration(context, &mut pipeline)? {}
        loop {
            let token = self.next_non_space();
            if token.kind == *end {
                break;
            }
            if !begins_operand(&token.kind) {
                return Err(self.unexpected(&token, context));
            }
            self.push_back(token);
            pipeline.commands.push(self.command()?);
        }
        self.nesting -= 1;
        check_pipeline(&pipeline, context)?;
        Ok(pipeline)
    }

    /// Reads `$x :=`, `$x =` or the `$x,` of a range; true if another variable must follow.
    fn declaration(&mut self, context: &'static str, pipeline: &mut Pipeline) -> Parsed<bool> {
        if self.peek_non_space().kind != TokenKind::Variable {
            return Ok(false);
        }
        let variable = self.next();
        // Only what follows the blanks tells a declaration from an operand, so the blanks must be put back too.
        let space = (self.peek().kind == TokenKind::Space).then(|| self.next());
        let next = self.peek().clone();
        match next.kind {
            TokenKind::Assign | TokenKind::Declare => {
                pipeline.assigns = next.kind == TokenKind::Assign;
                self.next();
                self.declare(variable.text, pipeline);
                Ok(false)
            }
            TokenKind::Character if next.text == "," => {
                self.next();
                self.declare(variable.text, pipeline);
                if context != "range" || pipeline.variables.len() >= 2 {
                    return Err(TemplateErrorKind::TooManyDeclarations(context));
                }
                match self.peek_non_space().kind {
                    TokenKind::Variable | TokenKind::RightDelimiter | TokenKind::RightParenthesis => Ok(true),
                    _ => Err(TemplateErrorKind::RangeVariable),
                }
            }
            _ => {
                self.pending.extend(space);
                self.push_back(variable);
                Ok(false)
            }
        }
    }

    fn declare(&mut self, name: &'t str, pipeline: &mut Pipeline) {
        let id = self.variable_id(name);
        pipeline.variables.push(Variable { id, name: name.into() });
        self.scope.variables.push(id);
    }

    fn variable_id(&mut self, name: &'t str) -> VariableId {
        let next = self.variable_names.len() as VariableId;
        *self.variable_ids.entry(name).or_insert_with(|| {
            self.variable_names.push(name.into());
            next
        })
    }

    fn command(&mut self) -> Parsed<Command> {
        let at = self.peek_non_space().at;
        let mut operands = Vec::new();
        loop {
            self.peek_non_space();
            if let Some(operand) = self.operand()? {
                operands.push(operand);
            }
            let token = self.next();
            match token.kind {
                TokenKind::Space => continue,
                TokenKind::RightDelimiter | TokenKind::RightParenthesis => self.push_back(token),
                TokenKind::Pipe => {}
                _ => return Err(self.unexpected(&token, "operand")),
            }
            break;
        }
        if operands.is_empty() {
            return Err(TemplateErrorKind::EmptyCommand);
        }
        Ok(Command { at, operands })
    }

    /// A term with the fields that follow it.
    fn operand(&mut self) -> Parsed<Option<Operand>> {
        let Some(mut operand) = self.term()? else { return Ok(None) };
        if self.peek().kind != TokenKind::Field {
            return Ok(Some(operand));
        }
        let at = self.peek().at;
        let mut path = Vec::new();
        while self.peek().kind == TokenKind::Field {
            path.push(self.next().text[1..].into());
        }
        operand.kind = match operand.kind {
            OperandKind::Field(mut first) => {
                first.append(&mut path);
                OperandKind::Field(first)
            }
            OperandKind::Variable { id, name, .. } => OperandKind::Variable { id, name, path },
            OperandKind::Bool(_)
            | OperandKind::String { .. }
            | OperandKind::Number(_)
            | OperandKind::Nil
            | OperandKind::Dot => return Err(TemplateErrorKind::FieldOfLiteral(operand.to_string().into())),
            kind => OperandKind::Chain(Box::new(Operand { at: operand.at, kind }), path),
        };
        operand.at = at;
        Ok(Some(operand))
    }

    fn term(&mut self) -> Parsed<Option<Operand>> {
        let token = self.next_non_space();
        let kind = match token.kind {
            TokenKind::Identifier => OperandKind::Function(
                functions::find(token.text).ok_or_else(|| TemplateErrorKind::UnknownFunction(token.text.into()))?,
            ),
            TokenKind::Dot => OperandKind::Dot,
            TokenKind::Nil => OperandKind::Nil,
            TokenKind::Bool => OperandKind::Bool(token.text == "true"),
            TokenKind::Variable => {
                let id = self.variable_id(token.text);
                if !self.scope.variables.contains(&id) {
                    return Err(TemplateErrorKind::UndefinedVariable(token.text.into()));
                }
                OperandKind::Variable { id, name: token.text.into(), path: Vec::new() }
            }
            TokenKind::Field => OperandKind::Field(vec![token.text[1..].into()]),
            TokenKind::CharacterConstant | TokenKind::Complex | TokenKind::Number => {
                OperandKind::Number(Box::new(Number::parse(token.text, &token.kind)?))
            }
            TokenKind::String | TokenKind::RawString => {
                let value = unquote_bytes(token.text)?.into();
                OperandKind::String { source: token.text.into(), value }
            }
            TokenKind::LeftParenthesis => {
                let pipeline = self.pipeline("parenthesized pipeline", &TokenKind::RightParenthesis)?;
                let at = pipeline.at;
                return Ok(Some(Operand { at, kind: OperandKind::Pipeline(Box::new(pipeline)) }));
            }
            _ => {
                self.push_back(token);
                return Ok(None);
            }
        };
        Ok(Some(Operand { at: token.at, kind }))
    }

    fn expect_right_delimiter(&mut self, context: &'static str) -> Parsed<()> {
        let token = self.next_non_space();
        match token.kind {
            TokenKind::RightDelimiter => Ok(()),
            _ => Err(self.unexpected(&token, context)),
        }
    }

    fn unexpected(&self, token: &Token<'_>, context: &'static str) -> TemplateErrorKind {
        if let TokenKind::Error(error) = &token.kind {
            let started = self.action_line.filter(|&line| line != token.line);
            let action_start = started.map(|line| (self.name.into(), line));
            return TemplateErrorKind::Lexical { error: error.clone(), action_start };
        }
        TemplateErrorKind::Unexpected { token: token.description(), context }
    }

    fn next(&mut self) -> Token<'t> {
        self.pending.pop().unwrap_or_else(|| {
            let token = self.lexer.next_token();
            self.line = token.line;
            token
        })
    }

    fn next_non_space(&mut self) -> Token<'t> {
        loop {
            let token = self.next();
            if token.kind != TokenKind::Space {
                return token;
            }
        }
    }

    fn peek(&mut self) -> &Token<'t> {
        if self.pending.is_empty() {
            let token = self.next();
            self.pending.push(token);
        }
        &self.pending[self.pending.len() - 1]
    }

    fn peek_non_space(&mut self) -> &Token<'t> {
        while self.peek().kind == TokenKind::Space {
            self.next();
        }
        self.peek()
    }

    fn push_back(&mut self, token: Token<'t>) {
        self.pending.push(token);
    }
}

fn begins_operand(kind: &TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::Bool
            | TokenKind::CharacterConstant
            | TokenKind::Complex
            | TokenKind::Dot
            | TokenKind::Field
            | TokenKind::Identifier
            | TokenKind::Number
            | TokenKind::Nil
            | TokenKind::RawString
            | TokenKind::String
            | TokenKind::Variable
            | TokenKind::LeftParenthesis
    )
}

fn check_pipeline(pipeline: &Pipeline, context: &'static str) -> Parsed<()> {
    if pipeline.commands.is_empty() {
        return Err(TemplateErrorKind::MissingValue(context));
    }
    for (index, command) in pipeline.commands.iter().enumerate().skip(1) {
        if matches!(
            command.operands[0].kind,
            OperandKind::Bool(_)
                | OperandKind::Dot
                | OperandKind::Nil
                | OperandKind::Number(_)
                | OperandKind::String { .. }
        ) {
            return Err(TemplateErrorKind::NotExecutable(index + 1));
        }
    }
    Ok(())
}

/// Whether a body has nothing but white space.
fn is_blank(body: &List) -> bool {
    body.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
}
