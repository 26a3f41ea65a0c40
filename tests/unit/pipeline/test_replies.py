"""What callers say of an answer in the first sentence of their next turn: a labelled table, and odd texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.pipeline.record.replies import said_of_answer

COMPLAINTS = """\
That didn't work.
that did not work, I get a KeyError now
It doesn't work
This still doesn't compile.
still fails with the same error
Still failing: AssertionError on line 3
I'm still getting the error
The tests still fail.
no, that's wrong
That's not what I asked for
That is not right, the total must be 7
nope, same error
The same error again
Same problem.
You forgot the imports.
You didn't read the file I gave you.
you broke the login page
it crashes on start
Your fix throws a TypeError now
The code doesn't compile
the new version is worse
Now I get a different error: E0308
Hmm, I get an error: module not found
revert that
Undo your last changes please
doesn't work
not working
Wrong.
wrong, it's 42
Incorrect. Think again.
why does it still fail?
Unfortunately this does not fix the problem
<user_query>that didn't help</user_query>
No luck, the server won't start
nothing changed
This isn't working
It won’t compile
Das funktioniert nicht.
Das geht immer noch nicht
Klappt leider nicht
Immer noch derselbe Fehler
Es hat nicht geklappt
Falsch.
Ça ne marche pas
ça ne fonctionne toujours pas
Toujours la même erreur
C'est faux
No funciona
Eso no funcionó
Sigue fallando
El mismo error
Isso não funcionou
Ainda não funciona
Non funziona
Non funziona ancora, stesso errore
Dat werkt niet
Nog steeds een fout
To nie działa
Nadal nie działa
Не работает
Это не помогло, та же ошибка
还是不行
不对，结果应该是7
代码报错了
まだ動きません
同じエラーが出ます
여전히 안 돼요
그래도 오류가 나요
the migration fails now with a foreign key error
Sorry but this doesn't really answer my question
I just tried it and it doesn't work
tried that, no change
It's giving me the same error as before
Your regex doesn't match empty strings
The page is still blank
that made it worse
This gives wrong results for negative numbers
Bad answer
you're wrong
that's incorrect, the API was removed in v3
hmm this isn't what I wanted
Error persists
Not quite. The output should be sorted
ok but it's still slow
it still says permission denied
there's a bug in your code
Your answer is wrong
it didn't change anything
Das hat nicht funktioniert, der Fehler ist noch da
Leider falsch
Marche pas
Ça plante toujours
Sigue sin funcionar
nao funcionou
не то, что я просил
没有效果
まだエラーが出ます
"""
"""The answer before was no good."""

PRAISE = """\
That works, thanks!
it works now
Perfect, thank you.
Great, that fixed it!
Thanks, that works
works like a charm
Perfect!
That's exactly what I wanted
LGTM
all tests pass now
Danke, das funktioniert jetzt
Perfekt!
Merci, ça marche
Gracias, ahora funciona
Obrigado, funcionou!
Grazie, ora funziona
Спасибо, работает
谢谢，可以了
ありがとうございます、動きました
감사합니다, 이제 잘 됩니다
"""
"""It was."""

NEITHER = """\
That didn't take long, nice.
it doesn't matter which library you use
This is not urgent, but could you also add a test?
that wasn't hard
It isn't due until Friday, so add docs as well
Does it work on Windows?
how does this work
Explain why this works
Now write a test that fails
What happens if the server is still starting?
still, I would like the other variant
No problem, go on
no
No, use the second option.
Wrong Turn is a film: summarise its plot
same for the other file please
Same again for users.py
Make the build fail when coverage drops
I get an error-free run; next add logging
add a flag that undoes the change
Can you revert to British spelling in the docs?
it fails only if the list is empty by design, so document it
You did not have to do that, but fine
you missed nothing, go on
You can use whatever library you like
There is still time: add dark mode
Is it still supported?
the same function should handle lists
I see an issue tracker link in the docs, add it to the README
Write a function that is not recursive
not only lists but tuples too
It does not need to be fast
This doesn't have to be perfect
that isn't needed, remove the fallback
Das ist nicht nötig, mach bitte weiter
Das ist nicht so wichtig
Nicht schlecht! Jetzt die Tests
Wie funktioniert das?
Comment ça marche ?
Ce n'est pas grave, continue
No te preocupes, sigue
No hace falta
¿Cómo funciona?
Não precisa
Non serve altro
Dat is niet nodig
Nie trzeba
Не нужно, спасибо
没关系，继续
这个函数是做什么的？
問題ありません
다음 파일도 부탁해요
What does the error mean?
Fix the error in main.py
The tests pass; now refactor
def broken(): pass
Please continue
go ahead
Why is the sky blue?
That error message is nice, keep it
It works on my machine but how do I deploy it?
Now it should also handle unicode
Can you make the tests fail fast?
I don't understand the second line
What about error handling?
Don't use recursion
not sure, what would you suggest?
That is not a problem for me
this is still a draft, polish it
the code does not use classes, keep it that way
This is for a school project
it is not allowed to use external libraries
the test is in tests/test_x.py
they aren't in the same module
The script runs every night; add a log
it's not that important, move on
does it crash if the file is missing?
add error messages
that isn't necessary
You can undo with ctrl-z; mention it in the help
the same but in Rust
We get a list from the API, sort it
I got an idea: use a cache
Why do they still use COBOL?
Nicht vergessen: auch die Doku
Das reicht nicht für alle Fälle, bitte erweitern
No lo sé, dime tú
non lo so
不用了，谢谢
いいえ、大丈夫です
"""
"""They say nothing of it, though some look so."""


@pytest.mark.parametrize("sentence", COMPLAINTS.splitlines())
def test_a_complaint_is_told(sentence: str):
    assert said_of_answer(sentence) == "complaint"
    assert said_of_answer(f"  {sentence.upper()}\n\nIt was working before.") == "complaint"


@pytest.mark.parametrize("sentence", PRAISE.splitlines())
def test_praise_is_told(sentence: str):
    assert said_of_answer(sentence) == "praise"


@pytest.mark.parametrize("sentence", NEITHER.splitlines())
def test_what_is_neither_is_left_alone(sentence: str):
    assert said_of_answer(sentence) is None


def test_only_the_first_sentence_counts():
    assert said_of_answer("Add a second page. The first one doesn't work on phones.") is None
    assert said_of_answer("Write a parser for this log\nstill failing: 3") is None


def test_a_long_first_sentence_tells_of_something_new():
    assert said_of_answer("that didn't work " + "because of this and that " * 20) is None


@pytest.mark.parametrize(
    "text", ["", " \n", "\ud800 didn't work", "\x00", "<a>" * 200, "no, " * 1_000, "🙂" * 400, "{" * 300]
)
def test_odd_texts_are_read(text: str):
    assert said_of_answer(text) is None


@given(st.text(max_size=400))
def test_any_text_is_read(text: str):
    assert said_of_answer(text) in (None, "complaint", "praise")
