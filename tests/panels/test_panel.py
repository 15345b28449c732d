"""What all panels have from their base: their words and their notice."""

from __future__ import annotations

from notebook_kit.panels import TokenInspector, set_language
from notebook_kit.panels.model_picker.linking import hand_on


def test_a_word_takes_its_values_once_and_is_the_key_if_there_is_none():
    panel = TokenInspector()
    text = panel._strings["token_inspector.limit_over"]
    assert "{limit}" in text and "{over}" in text
    assert panel.word("limit_over", limit="{over}", over=3) == text.replace("{over}", "3").replace("{limit}", "{over}")
    assert panel.word("limit_over", limit=5) == text.replace("{limit}", "5")
    assert panel.word("dismiss") == panel._strings["common.dismiss"]
    assert panel.word("no such key") == "no such key"


def test_a_word_is_in_the_language_that_is_set():
    panel = TokenInspector()
    english = panel.word("token")
    set_language("te")
    try:
        assert panel.word("token") != english
    finally:
        set_language("en")


def test_what_a_panel_cannot_take_is_its_notice_until_it_can():
    class Picky(TokenInspector):
        def use(self, *tokenizers):
            if tokenizers == ("bad",):
                raise ValueError("not this one")

    panel = Picky()
    hand_on("bad", panel)
    assert panel._notice == {"what": "ValueError: not this one", "next_step": ""}
    hand_on("good", panel)
    assert panel._notice == {}
