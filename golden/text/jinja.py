"""Writes jinja.json: what Transformers' Jinja2 renders of expressions and small templates; null where it raises.
Needs transformers. Usage: python jinja.py"""
import datetime
import json
import pathlib

from transformers.utils import chat_template_utils

VARIABLES = {
    "text": "  Hello, World!\n",
    "code": "    return x\n",
    "astral": "a👍b👍",
    "mixed": "Straße ΣΑΣ 12²",
    "lines": "one\n\ntwo\r\nthree\n",
    "number": 7,
    "negative": -7,
    "big": 1234567890123456789,
    "price": 2.0,
    "tiny": 1e-07,
    "huge": 1e22,
    "half": 2.5,
    "yes": True,
    "nothing": None,
    "words": ["b", "A", "c"],
    "numbers": [3, 1, 2],
    "nested": {"b": 1, "10": 2, "2": [1, 2.0, None], "a": {"x": "é", "q": "'"}},
    "pairs": [["x", 1], ["y", 2]],
    "empty": [],
    "messages": [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Q", "n": 2},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {"n": 1.0, "ok": True}}}]},
        {"role": "tool", "content": "<r>&'\"</r>", "n": 1},
    ],
}

EXPRESSIONS = r"""
text.strip() | text.strip('\n') | code.strip('\n') | code.rstrip('\n') | text.lstrip(' H') | '--x--'.strip('-') | 'abc'.strip('') | '\x1c x \ufeff'.strip() | text|trim | code|trim('\n') | text.strip(None)
text.split() | text.split(',') | text.split(None, 1) | 'a,b,c'.split(',', 1) | 'a,b,c'.rsplit(',', 1) | ' a  b c '.rsplit(None, 1) | ' a  b c '.split(maxsplit=1) | 'a b'.split('') | lines.splitlines() | lines.splitlines(true) | 'a\x0bb\u2028c'.splitlines() | 'abc'.partition('b') | 'abcb'.rpartition('b') | 'abc'.partition('x') | ''.split() | ''.split(',')
'abc'.find('c') | 'abc'.find('x') | astral.find('b') | 'abcabc'.rfind('b') | 'abc'.index('z') | 'aXbX'.count('X') | 'abc'.count('') | 'aaa'.count('a', 1) | 'abc'.find('a', 1) | 'abc'.find('', 4) | 'abc'.rfind('')
'abc'.startswith('b', 1) | 'abc'.startswith(('x', 'a')) | 'abc'.endswith('b', 0, 2) | 'abc'.startswith(1) | 'abc'.endswith(['c'])
'abc'.isdigit() | '12'.isdigit() | '²'.isdigit() | '²'.isdecimal() | 'é'.isalpha() | 'a1'.isalnum() | ''.isalpha() | 'Ab'.islower() | 'ab1'.islower() | ' \t'.isspace() | 'Hello World'.istitle() | 'ABC'.isupper() | 'abc'.isidentifier() | 'a\n'.isprintable() | '٣'.isnumeric()
'hello world'.title() | "they're".title() | 'hello wORLD'|title | "it's a-b (c) [d"|title | 'hELLO'.capitalize() | 'hELLO'|capitalize | 'Ab'.swapcase() | mixed.lower() | mixed.upper() | mixed.casefold() | 'ǆ'.title() | 'ﬁx'.capitalize()
'7'.zfill(3) | '-7'.zfill(4) | 'ab'.ljust(5, '.') ~ '|' | 'ab'.rjust(5) | 'ab'.center(5, '*') | 'abc'.center(6, '*') | 'ab'|center(7) ~ '|' | 'a\tb'.expandtabs(4) | 'ab'.ljust(5, '..')
'abcabc'.replace('b', 'X') | 'abc'.replace('', '-') | 'aaa'.replace('a', 'b', 2) | 'aaa'|replace('a', 'b', 1) | 12|replace(1, 'x') | 'abc'.replace('b') | 'prefix-x'.removeprefix('prefix-') | 'x.py'.removesuffix('.py') | 'x'.removesuffix('')
','.join(words) | ', '.join(numbers) | ','.join('abc') | '-'.join(nested) | words|join | numbers|join('-') | messages|join(',', attribute='role') | [1, none, true, 'a', 2.0]|join('|') | none|join(',') | empty|join(',') | undefined_name|join(',')
'%s and %s' % ('a', 1) | '%d items' % 3 | '%5.2f|' % 3.14159 | '%(a)s' % {'a': 1} | '%s' % words | '%r' % 'x' | '%x %X %o' % (255, 255, 8) | '%05d' % -42 | '%-6s|' % 'ab' | '%+d' % 5 | '%e' % 12345.678 | '%g' % 0.0001 | '%g' % 1e10 | '%%' % () | '%s' % none | '%s %s' % 'a' | '%d' % 'a' | 'x' % 1 | '%c' % 65 | '%.0f' % 2.5 | '%.1f' % 0.25 | '%#x' % 255 | '%s' % (1,) | '%*d' % (5, 3) | '%i' % 3.9 | '%5s|' % true | '%s, %s!'|format('a', 'b') | '%(x)s'|format(x=1)
'{} {}'.format('a', 1) | '{1} {0}'.format('a', 'b') | '{x}'.format(x=1) | '{:>5}|'.format('ab') | '{:05.1f}'.format(3.14159) | '{:,}'.format(1234567) | '{!r}'.format('a') | '{0[a]}'.format({'a': 1}) | '{{}}'.format() | '{:x}'.format(255) | '{:%}'.format(0.25) | '{:^7}|'.format('ab') | '{:*<6}'.format('ab') | '{:+d}'.format(3) | '{:.3}'.format('abcdef') | '{} {0}'.format(1) | '{}'.format() | '{:d}'.format('a') | '{:b}'.format(5) | '{:e}'.format(1234.5) | '{:g}'.format(1234567.0) | '{}'.format(none) | '{:{}}|'.format('a', 4) | '{:5}|'.format(3) | '{:5}|'.format(true) | '{}'.format(2.0)
'abc'[0] | 'abc'[-1] | 'abc'[5] | astral[1] | astral[1:3] | astral[::-1] | astral|length | astral|reverse | 'abcdef'[::2] | 'abcdef'[4:1:-1] | 'abc'[1:] | 'abc'[:-1] | 'abc'[::0] | 'abc'['x'] | words[1:] | words[-1] | words[9] | numbers[::-1] | (1, 2, 3)[1:] | range(10)[2:5] | range(5)[-1] | text.0 | words.1 | 'abc'['upper']() | 'abc'[1.0] | words[true]
1 + 1 | 7 // 2 | -7 // 2 | 7 % 3 | -7 % 3 | 7 % -3 | -7.5 % 2 | 7.5 // 2 | 7 / 2 | 6 / 2 | 2 ** 10 | 2 ** -1 | 2 ** 100 | 2.0 ** 0.5 | 1 / 0 | 1 // 0 | 1 % 0 | 5.0 % 3 | big + 1 | big * big | big // 10 | -big | 9007199254740993 | 9007199254740991 + 1 | big - big | true + 1 | true * 3 | -true | + 5 | - - 5 | 0.1 + 0.2 | 1e3 | 1_000 | 0x1F | 0b101 | 0o17 | 1.5e-7 | 10 ** 20 | 10 ** 20 / 10 ** 18 | 3 + 2.0 | 1e16 | 123456789012345678.0 | 5e-324 | 1e22 | 100000.0 | -0.0 | 1.0 * 3
'a' + 'b' | 'a' + 1 | 1 + 'a' | 'a' + true | 'a' + none | 'a' + [1] | 'a' + nested | 'a' ~ 1 ~ none ~ 2.0 ~ true | 'a' * 3 | 3 * 'a' | 'a' * -1 | [1] * 2 | [1] + [2] | [1] + (2,) | (1,) + (2,) | 'a' - 'b' | none + 1 | 'a' ~ 1 + 2 | undefined_name + 'a' | 'a' + undefined_name | undefined_name ~ 'a' | -'a' | 'a' * 1.5 | [] + 'a' | nested + nested | 2 * (1, 2)
1 == 1.0 | 1 == true | 'a' == 1 | [1, 2] == [1.0, 2] | {'a': 1} == {'a': 1.0} | none == false | undefined_name == undefined_other | undefined_name == none | (1,) == [1] | 1 != 2 | nested == nested | 0 == '' | 'a' == 'a'
'a' < 'b' | 'Z' < 'a' | 1 < 2.5 | 1 < 'a' | none < 1 | [1, 2] < [1, 3] | (1, 'a') < (1, 'b') | 3 > 2 > 1 | 1 < 2 < 2 | true < 2 | undefined_name < 1 | '\uffff' < '👍' | 1 <= 1 | 'a' >= 'b' | nested < nested | 1 < 2 == true
'a' in 'abc' | 1 in 'abc' | 'b' in words | 2 in (1, 2) | 'b' in nested | 'x' not in nested | 1 in 5 | none in [none] | 1.0 in numbers | 'a' in none | 'a' in undefined_name | undefined_name in words | undefined_name in 'abc' | 3 in range(5) | '' in 'abc' | true in [1] | not 'a' in 'b' | 'x' in nested.values() | 'b' in nested.keys() | [1] in nested
true | false | none | nothing | yes | True | None | [true, none, 'a', "it's", 1.0] | (1,) | (1, 2) | () | {} | {'a': none} | {1: 'x', 'b': [2]} | {true: 1, 1: 2} | {1.0: 'a'}[1] | {(1, 2): 3}[(1, 2)] | nested | nested.a | messages[2] | 'é\n\t\\' | ['é\n\t\\\x7f\u200b👍'] | ["it's"] | ['"'] | ['\'"'] | range(3) | range(1, 10, 2) | nested.keys() | nested.values() | nested.items() | words|reverse|list | [undefined_name] | {'a': undefined_name} | price | tiny | huge | big | half | [price, tiny, huge, big] | {[1]: 2} | lines | ['a' 'b'] | 'a' 'b' | namespace(a=1, b='x') | [[], {}, ()]
nested|tojson | nested|tojson(indent=2) | nested|tojson(sort_keys=true) | nested|tojson(ensure_ascii=true) | nested|tojson(separators=(',', ':')) | nested|tojson(indent=1, separators=[', ', '=']) | [tiny, huge, price, big]|tojson | {1: 2, none: 3, true: 4, 1.5: 5}|tojson | 'é"\\\n\x01\x7f\u2028👍'|tojson | 'é"\x7f👍'|tojson(ensure_ascii=true) | undefined_name|tojson | none|tojson | (1, 2)|tojson | [undefined_name]|tojson | range(3)|tojson | nested.items()|tojson | []|tojson(indent=4) | {}|tojson(indent=4) | [[]]|tojson(indent=2) | '<a>&'|tojson | {'a': {'b': [1]}}|tojson(indent='--') | {(1, 2): 3}|tojson | nested|tojson(4) | messages|tojson | 5|tojson(indent=none) | nested|tojson(indent=0)
undefined_name | undefined_name.x | undefined_name['x'] | undefined_name|trim | undefined_name|upper | undefined_name|length | undefined_name|list | undefined_name|default('d') | undefined_name() | undefined_name is defined | undefined_name.x is defined | nested.x is defined | nested.x.y is defined | nested.a.x.y is defined | nothing.x is defined | nothing.x | nothing['x'] | number.x | number[0] | undefined_name|first is undefined | undefined_name|tojson is defined | messages[0].tool_calls is defined | messages[0]['tool_calls'] | (messages[0].x or 'none') | undefined_name|string | undefined_name|int | undefined_name|join | undefined_name|sort | undefined_name|map('upper')|list | not undefined_name | undefined_name and 1 | 'x' if false | ('x' if false) is undefined | ('x' if false)|length | ('x' if false) + 'a' | undefined_name|replace('a', 'b') | undefined_name|items|list | undefined_name|abs | undefined_name|float | undefined_name|round
number[1:] | price[::-1] | nothing[:2] | yes[0:1] | nested[1:] | words['a':] | undefined_name[1:] | range(5)[1:4] | nested.items()[0:1] | 'abc'[none:2] | words[1.0:]
'x'|int(none) | 'x'|float(none) | []|int(none) | nothing|float(none) | 'x'|int('d') | '7'|int(none) | words|join(none) | 'ab'|join(none) | words|join(1) | 'x'|int(none) is none
words|attr(1) | 'a'|attr('upper') is callable | nested|attr(none) | words|sort('b') | words|sort(none) | words|sort(1) | words|sort(2.5) | nested|dictsort(reverse='x') | nested|dictsort(reverse=1)|first | number is defined(1) | number is filter(2) | number is not defined 2 | 'upper' is filter | number is even(1)
none|default('d') | none|default('d', true) | ''|default('d', true) | false|d('x') | undefined_name|d | 0|default('z', boolean=true) | none|length | none|list | none|upper | none|trim | none|string | none|int | none|first | none|selectattr('x')|list | none|map('upper')|list | none|sort | none|tojson | none|items
messages|selectattr('role', 'equalto', 'user')|list|length | messages|selectattr('role', 'eq', 'user')|map(attribute='content')|list | messages|selectattr('tool_calls', 'undefined')|list|length | messages|selectattr('tool_calls', 'defined')|list|length | messages|rejectattr('role', 'in', ['user', 'tool'])|map(attribute='role')|join(',') | messages|selectattr('role', '==', 'tool')|first | messages|selectattr('n')|list|length | messages|map(attribute='n', default=0)|list | messages|map(attribute='content')|list | messages|map(attribute='tool_calls.0.function.name')|list | words|map('upper')|list | words|map('replace', 'b', 'X')|list | numbers|select('odd')|list | numbers|reject('odd')|list | numbers|select('>', 1)|list | numbers|select|list | words|map('nope')|list | messages|selectattr|list | numbers|select('divisibleby', 3)|list | words|map|list | numbers|map('string')|map('length')|list | words|select('string')|first | words|map('upper')|length | words|map('upper')|first | messages|groupby('role') | messages|groupby('role')|map(attribute='grouper')|list | [0, 1, '', 'a', none]|select|list | words|map('tojson')|join(' ') | messages|selectattr('role', 'eq')|list | words|map('upper')|last | 'abc'|map('upper')|join | nested|map('upper')|list
words|sort | words|sort(case_sensitive=true) | words|sort(reverse=true) | numbers|sort | [1, 'a']|sort | messages|sort(attribute='role')|map(attribute='role')|list | pairs|sort(attribute=1, reverse=true) | nested|dictsort|map('first')|list | {'b': 1, 'A': 2}|dictsort | {'b': 1, 'A': 2}|dictsort(true) | {'b': 1, 'A': 2}|dictsort(by='value', reverse=true) | ['a', 'A', 'b']|unique|list | ['a', 'A']|unique(true)|list | numbers|max | numbers|min | words|max | empty|max | numbers|sum | [1, 2.5]|sum | messages|map(attribute='n', default=0)|sum | ['a', 'b']|sum | [[1], [2]]|sum(start=[]) | numbers|first | numbers|last | empty|first is undefined | 'abc'|first | 'abc'|last | nested|first | nested|last | numbers|batch(2)|list | numbers|batch(2, 'x')|list | range(7)|slice(3)|list | range(7)|slice(3, 'x')|list | words|length | words|count | 5|length | nested|length | numbers|reverse|list | 'abc'|reverse | 5|reverse | nested|list | 'abc'|list | range(3)|list | nested|items|list | numbers|items|list
'3'|int | '3.7'|int | 'x'|int | 'x'|int(5) | '0x1f'|int(base=16) | 3.9|int | true|int | ' 42 '|int | '1_000'|int | '3.5'|float | 'x'|float | 'x'|float(1.5) | 3|float | 'inf'|float | -3|abs | -2.5|abs | 'a'|abs | 2.5|round | 3.5|round | 2.567|round(2) | 2.567|round(1, 'floor') | 2.1|round(0, 'ceil') | 7|round | 0.125|round(2) | 1e400|float | none|float | []|int | '١٢'|int
5 is odd | 4 is even | -3 is odd | 6 is divisibleby 3 | 6 is divisibleby(4) | 'a' is string | 1 is number | true is number | 1.0 is float | 1 is integer | true is integer | true is boolean | nested is mapping | words is sequence | 'a' is sequence | nested is sequence | nested.items() is sequence | words is iterable | 1 is iterable | 'a' is iterable | undefined_name is iterable | none is none | undefined_name is none | 'a' is lower | 'A1' is upper | 1 is eq 1 | 1 is ne 2 | 2 is gt 1 | 1 is in numbers | 1 is not in numbers | true is true | 1 is true | false is false | none is sameas none | raise_exception is callable | words is callable | 'a' is not string | not 1 is odd | 'a' is defined and 1 is odd | 'upper' is filter | 'odd' is test | 'nope' is filter | 1 is nope | 'a' is in 'abc' | 5 is odd is true | messages is string | 'a' is escaped | words is undefined | 2 is equalto(2.0)
nested.items()|list | nested.get('b') | nested.get('zz') | nested.get('zz', 'd') | nested['items'] is defined | nested.b | nested['b'] | nested['2'][1] | nested.copy()|length | {'items': 1}.items | {'items': 1}['items'] | nested.update({'a': 1}) | words.append('d') | words.index('A') | words.count('b') | words.index('zz') | words.copy() | nested.pop('a') | words.__class__ | ''.__class__ | nested._x | nested.__len__ | 'a'.encode() | price.is_integer() | dict(a=1, b=2) | dict([('a', 1)]) | dict({'a': 1}, b=2) | dict(1) | range(3).start | (1, 2).count(1)
1 if yes else 2 | 'a' if nothing | 1 if false else 2 if false else 3 | (yes and 'x') or 'y' | nothing or 'z' | 0 or '' | 1 and 2 | not yes | not not 1 | not 1 == 2 | yes and not nothing | 1, 2 | [1, 2,] | {'a': 1,} | (1) | [x for x in words] | 2|abs + 3 | -2|abs | 2 ** 3 ** 2 | -2 ** 2 | 'a'.upper().lower() | 'a'|upper|lower | words[0]|upper ~ '!' | (1, 2)|first | 1 + 2|string | '1' + 2|string | [1, 2][0] | {'a': {'b': 1}}.a.b | {'a': 1}['a'] | "a\"b" | 'a\'b' | 'a\x41\u00e9\101\d' | 'tab\there' | '\N{BULLET}' | 'line\
break'
loop | range(0) | range(5, 0, -2)|list | range(200000) | range('a') | range(1, 2, 0) | range(3.0) | lipsum | cycler(1, 2).next() | joiner() | joiner('|')() | namespace().x is defined | namespace({'a': 1}).a | raise_exception('stop') | raise_exception() | strftime_now('%Y') | strftime_now('%d %B %Y %j %A %-d %H:%M:%S %p %y %m %b %a %U %W %V %u %w %e %I %D %F %T %%')
'abc def ghi'|truncate(7) | 'abc def ghi'|truncate(7, true) | 'abc def ghi'|truncate(5, true, '', 0) | lines|indent | lines|indent(2, true) | lines|indent(2, blank=true) | 'a\nb'|indent('> ') | 1|indent | 'a b  c'|wordcount | '<a>'|safe | '<a>'|escape | '<a>'|safe + '<b>' | '<b>' + '<a>'|safe | ('<a>'|safe) ~ '<b>' | ('<a>'|safe)|string + '&' | "'\"<"|e + ('>'|safe) | ('a'|safe) == 'a' | ('a'|safe) is string | '<'|safe|escape | '<'|e|forceescape | ['<'|safe] | {'a': 1}|xmlattr | 'x'|nope | 1|string + '1' | 'a b'|urlencode | nested|attr('keys') is callable | nested|attr('b') is defined | 'abc'|attr('upper') is defined | 1 | 'a'|e
"""

TEMPLATES = {
    "continue keeps what was written": "{% for i in numbers %}{{ i }},{% if i == 1 %}{% continue %}{% endif %}!{% endfor %}",
    "break keeps what was written": "{% for i in numbers %}{{ i }},{% if i == 1 %}{% break %}{% endif %}!{% endfor %}",
    "nested loops": "{% for m in messages %}[{{ m.role }}]{% for c in 'ab' %}{% if c == 'b' %}{% continue %}{% endif %}{{ c }}{% endfor %}{% if loop.index0 == 2 %}{% break %}{% endif %};{% endfor %}",
    "break outside": "a{% break %}",
    "break in a macro": "{% for i in numbers %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}",
    "break in a generation block": "{% for i in numbers %}{% generation %}{% break %}{% endgeneration %}{% endfor %}",
    "break in a set block": "{% for i in numbers %}{% set x %}{{ i }}{% break %}{% endset %}{{ x }}{% endfor %}e",
    "else after continue": "{% for i in numbers %}{% continue %}{% else %}else{% endfor %}",
    "else after break": "{% for i in numbers %}{% break %}{% else %}else{% endfor %}",
    "else": "{% for i in [] %}x{% else %}none{% endfor %}{% for i in [1] %}x{% else %}none{% endfor %}",
    "loop variables": "{% for i in words %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('x', 'y') }}{{ loop.changed(1) }};{% endfor %}",
    "loop printed": "{% for i in words %}{{ loop }}{% endfor %}",
    "loop over a generator": "{% for i in words|map('upper') %}{{ loop.length }}{{ loop.last }}{{ i }}{{ loop.revindex }}{{ loop.nextitem }};{% endfor %}",
    "generator is spent": "{% set g = words|map('upper') %}{{ g|list }}{{ g|list }}{{ 'yes' if g }}",
    "generator printed": "{{ words|map('upper') }}",
    "filtered loop": "{% for m in messages if m.role != 'system' %}{{ loop.index }}{{ m.role }}{{ loop.last }} {% endfor %}",
    "filter sees what the body sets": "{% set ns = namespace(n=0) %}{% for i in range(9) if ns.n < 3 %}{% set ns.n = ns.n + 1 %}{{ i }}{% endfor %}",
    "unpacking": "{% for a, b in pairs %}{{ a }}={{ b }};{% endfor %}{% for k, v in nested.items() %}{{ k }}:{{ v }};{% endfor %}{% for (a, b) in pairs %}{{ a }}{% endfor %}",
    "unpacking of too many": "{% for a, b in [[1, 2, 3]] %}{{ a }}{% endfor %}",
    "unpacking of too few": "{% for a, b in [[1]] %}{{ a }}{% endfor %}",
    "unpacking of a number": "{% for a, b in [1] %}{{ a }}{% endfor %}",
    "set of several": "{% set a, b = 1, 'x' %}{{ a }}{{ b }}{% set c = 1, 2 %}{{ c }}",
    "set stays in a loop": "{% set x = 1 %}{% for i in numbers %}{{ x }}{% set x = i %}{{ x }}{% endfor %}{{ x }}",
    "set leaves an if": "{% if yes %}{% set x = 1 %}{% endif %}{{ x }}",
    "set in with": "{% set x = 1 %}{% with y = x %}{% set x = 2 %}{{ x }}{{ y }}{% endwith %}{{ x }}{{ y }}",
    "with sees outside": "{% with a = 1, b = a %}[{{ a }}{{ b }}]{% endwith %}",
    "namespace": "{% set ns = namespace(a=1) %}{% for i in numbers %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.b is defined }}",
    "namespace that is none": "{% set x = {} %}{% set x.a = 1 %}",
    "namespace with an underscore": "{% set ns = namespace(_a=1) %}",
    "set block": "{% set x %}a{{ 1 }}\n{% endset %}[{{ x }}]{{ x is string }}{% set y | upper | trim %} b {% endset %}[{{ y }}]",
    "filter block": "{% filter upper %}a{{ 'b' }}{% endfilter %}{% filter replace('a', 'x')|upper %}aba{% endfilter %}",
    "macro": "{% macro m(a, b='d', c=a) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(b=3, a=4) }}{{ m() }}{{ m(1, c=none) }}",
    "macro with too many": "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "macro with an unknown name": "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(x=2) }}",
    "macro with varargs": "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}",
    "macro sees late": "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}{% set x = 2 %}{{ m() }}",
    "macro is lexical": "{% macro m() %}{{ i }}{{ loop is defined }}{% endmacro %}{% for i in [1] %}{{ m() }}{% endfor %}",
    "macro calls itself": "{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(3) }}",
    "macro's text": "{% macro m() %} a {% endmacro %}{{ m()|trim }}{{ m() ~ 'x' }}{{ m().strip() }}{{ m.name }}{{ m.arguments }}",
    "macro printed": "{% macro m() %}{% endmacro %}{{ m }}",
    "call block": "{% macro m(x) %}<{{ caller() }}{{ x }}>{% endmacro %}{% call m(1) %}in{{ 2 }}{% endcall %}",
    "call block with parameters": "{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b=3) m() %}{{ a }}{{ b }}{% endcall %}",
    "call without a caller": "{% macro m() %}{{ caller }}{{ caller is defined }}{% endmacro %}{{ m() }}",
    "call of what takes none": "{% macro m() %}x{% endmacro %}{% call m() %}{% endcall %}",
    "recursive loop": "{% for i in [[1, [2, [3]]]] recursive %}{{ loop.depth }}{% if i is iterable %}({{ loop(i) }}){% else %}{{ i }}{% endif %}{% endfor %}",
    "loop called plainly": "{% for i in [1] %}{{ loop([1]) }}{% endfor %}",
    "iterating text": "{% for c in astral %}<{{ c }}>{% endfor %}",
    "iterating a dict": "{% for k in nested %}{{ k }},{% endfor %}",
    "iterating none": "{% for k in none %}{{ k }}{% endfor %}",
    "iterating a number": "{% for k in 5 %}{{ k }}{% endfor %}",
    "iterating undefined": "{% for k in undefined_name %}{{ k }}{% endfor %}ok",
    "raw": "{% raw %}{{ x }} {% if %}{% endraw %}|{%- raw -%}  {{ y }}  {%- endraw -%}  z",
    "comment": "a{# x {{ y }} #}b\n  {# c #}\nd {#- e -#} f",
    "trim_blocks": "{% if yes %}\n  a\n{% endif %}\nb\n",
    "lstrip_blocks": "x\n    {% if yes %}\n    y {% if yes %} z{% endif %}\n    {% endif %}\nw",
    "plus signs": "a\n  {%+ if yes %}\nb\n  {%+ endif +%}\nc{%- if yes +%}\n d{% endif %}",
    "minus signs": "a \n {%- if yes -%} \n b \n {%- endif -%} \n c {{- 'd' -}} \n e",
    "variable keeps its line": "  {{ 1 }}\n  {{ 2 }}\n",
    "tags that look like text": "{{ '{% x %}' }}{{ '}}' }}{{ '{{' }}",
    "lines in an expression": "{{ {'a':\n 1}\n['a'] }}\n{% set x = [\n1,\n2] %}\n{{ x }}",
    "a brace in a dict": "{{ {'a': {'b': 1}} }}{{ {'a': {}}}}",
    "CRLF": "a\r\n{% if yes %}\r\nb\r\n{% endif %}\r\nc\r\n",
    "two line breaks at the end": "a\n\n",
    "set with spaces": "{%set x=1%}{{x}}{%-  set  y = 2  -%} {{ y }}",
    "elif": "{% if false %}a{% elif nothing %}b{% elif yes %}c{% else %}d{% endif %}",
    "if tuple": "{% if 0, %}a{% endif %}",
    "if conditional": "{% if 1 if yes else 0 %}a{% endif %}",
    "unknown tag": "{% frob %}",
    "unclosed": "{% if yes %}a",
    "unclosed variable": "{{ 1",
    "wrongly closed": "{% if yes %}a{% endfor %}",
    "unknown filter in a branch": "{% if false %}{{ 1|nope }}{% endif %}ok",
    "unknown filter in a loop": "{% for i in [] %}{{ 1|nope }}{% endfor %}ok",
    "unknown filter in a branch's loop": "{% if false %}{% for i in [] %}{{ 1|nope }}{% endfor %}{% endif %}ok",
    "unknown test in a conditional": "{{ 1 if true else (2 is nope) }}",
    "assigning to a constant": "{% set true = 1 %}",
    "assigning to an expression": "{% set x[0] = 1 %}",
    "print tag": "{% print 1, 'a' %}",
    "do tag": "{% do words.append(1) %}",
    "include": "{% include 'x' %}",
    "generation": "a{% generation %}b{% set x = 1 %}{% endgeneration %}c{{ x }}",
    "generation strips": "a \n {%- generation -%} \n b \n {%- endgeneration -%} \n c",
    "joiner": "{% set j = joiner(', ') %}{% for w in words %}{{ j() }}{{ w }}{% endfor %}",
    "cycler": "{% set c = cycler('a', 'b') %}{% for w in words %}{{ c.next() }}{{ c.current }}{% endfor %}",
    "star arguments": "{% macro m(a, b, c=0) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(1, **{'b': 5, 'c': 6}) }}{{ range(*[1, 4])|list }}",
    "date": "{{ strftime_now('%d %B %Y') }}{% if strftime_now is defined %}!{% endif %}",
    "tool parameters named as methods": "{% set p = {'items': {'type': 'x'}, 'keys': 1} %}{{ p['items'] }}{{ p.items is mapping }}{{ p.keys is callable }}",
    "unicode escapes": "{{ '\\u200b' }}{{ '\\U0001F44D' }}{{ '\\x41' }}",
    "colon after if": "{% if yes: %}a{% endif %}",
    "set without value": "{% set x = %}",
    "missing comma": "{{ [1 2] }}",
    "missing comma in a call": "{{ range(1 2) }}",
    "bad operator": "{{ 1 ! 2 }}",
    "not as an operand": "{{ 1 + not 2 }}",
    "is in a filter": "{{ (1 is odd)|string ~ 'x' }}",
    "loop scoping": "{% for i in [1, 2] %}{% if i == 1 %}{% set y = 'set' %}{% endif %}{{ y }};{% endfor %}",
    "loop.last with filter": "{% for m in messages|selectattr('role', 'ne', 'tool') %}{{ m.role }}{{ ',' if not loop.last }}{% endfor %}",
    "messages sliced": "{% for m in messages[1:] %}{{ m.role }}{{ loop.index0 }}{% endfor %}{% for m in messages[::-1] %}{{ m.role[0] }}{% endfor %}",
    "text plus map": "{{ '<' + messages[2].tool_calls[0].function.arguments }}",
    "arguments": "{% for k, v in messages[2].tool_calls[0].function.arguments|items %}{{ k }}={{ v|tojson if v is not string else v }},{{ v }};{% endfor %}",
    "bad item in output": "{{ messages[2].content + 'x' }}",
    "dict method shadows": "{{ messages[0].get('content') }}{{ messages[0].get('x', 'd') }}{{ messages[0].values()|list }}",
    "strings with escapes": "{{ 'a\\nb' }}{{ \"\\t\" }}{{ 'a\nb' }}",
    "block": "{% block x %}a{% endblock %}",
    "import": "{% import 'x' as y %}",
}


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 3, 5, 14, 7, 9)


def case(name, template):
    try:
        rendered = chat_template_utils._compile_jinja_template(template).render(**VARIABLES)
    except Exception as error:  # whatever Jinja2 or Python raises
        return {"name": name, "template": template, "rendered": None, "error": type(error).__name__}
    if " at 0x" in rendered:  # an address, which is another one each time
        return {"name": name, "template": template, "rendered": None, "error": "address"}
    return {"name": name, "template": template, "rendered": rendered}


def main():
    cases = []
    for line in EXPRESSIONS.replace("\\\n", "\\\0").strip("\n").split("\n"):
        for expression in line.replace("\0", "\n").split(" | "):
            cases.append(case(expression, "{{ " + expression + " }}"))
    cases += [case(name, template) for name, template in TEMPLATES.items()]
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(json.dumps({"variables": VARIABLES, "clock": "2026-03-05T14:07:09", "cases": cases}, indent=1, ensure_ascii=True) + "\n")
    print(len(cases), "cases,", sum(c["rendered"] is None for c in cases), "raise")


if __name__ == "__main__":
    chat_template_utils.datetime = Clock
    main()
