from __future__ import annotations

import pytest

from sealround.study.places import Place, Places, dotted

TEXT = '''\
# comment with [a] and x = 1
top = 1
"chest pain".'odd.key' = { x = [1, "]", { y = 2 }], z = 'q' } # } trailing

[t.u] # [not.a.table]
text = """
multi " line = 1
""" # after
list = [
  "one", # 1
  2,
]
[[many]]
n = 1
[[many]]
n = 2
[many.below]
when = 1979-05-27 07:32:00
'''


def shown(place: Place | None, part: str) -> tuple[int, str]:
    assert place is not None
    line, span = (place.line, place.key) if part == "key" else (place.value_line, place.value)
    return line, TEXT.split("\n")[line - 1][slice(*span)]


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (("top",), (2, "top"), (2, "1")),
        (("chest pain",), (3, '"chest pain"'), (3, "{ x = [1, \"]\", { y = 2 }], z = 'q' }")),
        (("chest pain", "odd.key"), (3, "'odd.key'"), (3, "{ x = [1, \"]\", { y = 2 }], z = 'q' }")),
        (("chest pain", "odd.key", "x"), (3, "x"), (3, '[1, "]", { y = 2 }]')),
        (("chest pain", "odd.key", "x", 1), (3, '"]"'), (3, '"]"')),
        (("chest pain", "odd.key", "x", 2, "y"), (3, "y"), (3, "2")),
        (("chest pain", "odd.key", "z"), (3, "z"), (3, "'q'")),
        (("t",), (5, "t"), (5, "[t.u]")),
        (("t", "u"), (5, "u"), (5, "[t.u]")),
        (("t", "u", "text"), (6, "text"), (6, '"""')),
        (("t", "u", "list"), (9, "list"), (9, "[")),
        (("t", "u", "list", 0), (10, '"one"'), (10, '"one"')),
        (("t", "u", "list", 1), (11, "2"), (11, "2")),
        (("many", 0, "n"), (14, "n"), (14, "1")),
        (("many", 1, "n"), (16, "n"), (16, "2")),
        (("many", 1, "below"), (17, "below"), (17, "[many.below]")),
        (("many", 1, "below", "when"), (18, "when"), (18, "1979-05-27 07:32:00")),
    ],
)
def test_every_key_is_found_where_it_stands(
    path: tuple[str | int, ...], key: tuple[int, str], value: tuple[int, str]
) -> None:
    place = Places(TEXT)[path]
    assert shown(place, "key") == key
    assert shown(place, "value") == value


def test_windows_line_ends_do_not_move_columns() -> None:
    place = Places('a = 1\r\nb = "x"\r\n')[("b",)]
    assert place == Place(line=2, key=(0, 1), value_line=2, value=(4, 7))


def test_what_the_text_does_not_spell_out_has_no_place_but_a_nearest_one() -> None:
    places = Places(TEXT)
    assert places[("t", "u", "absent")] is None
    assert places.nearest(("t", "u", "absent")) == places[("t", "u")]
    assert places.nearest(("absent",)) is None


def test_a_value_inside_a_long_string_is_no_key() -> None:
    assert Places(TEXT)[("t", "u", "multi")] is None


def test_dotted_quotes_what_is_not_bare() -> None:
    assert dotted(("cohort", "columns", "chest pain", "missing", 0)) == 'cohort.columns."chest pain".missing[0]'
    assert dotted(()) == ""
