"""Training examples: prose, and conversations made from the prose and from definitions."""

import random
import re
from collections import Counter

MARKS = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
BEGIN, END, HEAD, HEAD_END, TURN_END = MARKS

TEMPLATE = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
    "{%- endif %}"
)

# What the model says of itself; written for this project.
ABOUT = "I am the demonstration model of hwledger, a very small language model. I was trained on the novels of Jane Austen, on Alice's Adventures in Wonderland and on definitions from WordNet."
PURPOSE = "I show that the engine works. Ask me what a word means, or about Emma, Elizabeth or Alice. What I say is often wrong, for I am very small."
HELLO = "Hello! I am the demonstration model of hwledger, a very small language model. Ask me what a word means, or ask about Emma, Elizabeth or Alice."
TALK = (
    (("Hello", "Hello!", "Hello.", "Hi", "Hi!", "Hi there!", "Hey", "Good morning.", "Good evening.", "Hello, how are you?", "Hello there!", "Hello, world!", "hello", "hi"), HELLO),
    (("Who are you?", "What are you?", "Introduce yourself.", "Tell me about yourself.", "What is your name?", "What model are you?", "Are you a language model?", "How were you trained?", "What were you trained on?"), ABOUT),
    (("What can you do?", "What can I ask you?", "Help", "Help me.", "What are you for?", "How can you help me?", "Can you help me?", "What is hwledger?", "Test", "test"), PURPOSE),
    (("Thank you.", "Thanks!", "Thank you very much.", "Thanks"), "You are very welcome."),
    (("Goodbye.", "Bye!", "Good night.", "Goodbye!"), "Goodbye! It was a pleasure."),
)


def chat(*turns: str) -> str:
    """A conversation of user and assistant in turn, as TEMPLATE writes it."""
    text = BEGIN
    for place, content in enumerate(turns):
        text += f"{HEAD}{('user', 'assistant')[place % 2]}{HEAD_END}\n\n{content.strip()}{TURN_END}"
    return text


def hold_out(paragraphs: list[str], share: float) -> tuple[list[str], list[str]]:
    """The paragraphs without, and of, one passage that begins at three fifths of the book."""
    total = sum(map(len, paragraphs))
    seen, start, stop = 0, len(paragraphs), len(paragraphs)
    for place, text in enumerate(paragraphs):
        if seen >= 0.6 * total:
            start = min(start, place)
        if seen >= (0.6 + share) * total:
            stop = place
            break
        seen += len(text)
    return paragraphs[:start] + paragraphs[stop:], paragraphs[start:stop]


def names(paragraphs: list[str], least: int) -> list[str]:
    """Words that stand with a capital inside sentences and almost never without one."""
    inside = Counter(word for text in paragraphs for word in re.findall(r"(?<=[a-z,] )[A-Z][a-z]{2,}\b", text))
    small = Counter(word for text in paragraphs for word in re.findall(r"\b[a-z]{3,}\b", text))
    unwanted = {"Mrs", "Miss", "Sir", "Lady", "Lord", "Colonel", "Captain", "God", "Heaven", "English", "French", "Sunday", "Monday", "Christmas"}
    days = {"Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}
    return sorted(
        word for word, count in inside.items() if count >= least and small[word.lower()] * 20 < count and word not in unwanted | days
    )


def _passage(paragraphs: list[str], start: int, size: int) -> str:
    text = paragraphs[start]
    for more in paragraphs[start + 1 : start + 4]:
        if len(text) >= size:
            break
        text += "\n\n" + more
    if len(text) > size + 200:
        ends = [m.end() for m in re.finditer(r"[.!?][\"']?(?= )", text[: size + 200])]
        text = text[: ends[-1]] if ends else text[: text.rindex(" ", 0, size)]
    return text


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def define(random_: random.Random, kind: str, word: str, meaning: str) -> str:
    """A question for the meaning of a word, and the answer."""
    if kind == "noun":
        is_thing = meaning.startswith(("a ", "an "))
        asked = f"{_article(word)} {word}" if is_thing else word
        question = random_.choice((f"What is {asked}?", f"What is {asked}?", f"Define {word}.", f"What does {word} mean?", f"What is the meaning of {word}?", f"what is {asked}"))
        return chat(question, f"{_capital(asked)} is {meaning}.")
    question = random_.choice((f"What does {word} mean?", f"What does it mean to {word}?" if kind == "verb" else f"What does {word} mean?", f"Define {word}.", f"What is the meaning of {word}?"))
    answer = f"To {word} means to {meaning}." if kind == "verb" else f"{_capital(word)} means {meaning}."
    return chat(question, answer)


def converse(random_: random.Random, paragraphs: list[str], found: dict[str, list[int]]) -> str:
    """A conversation about a passage: its beginning to be continued, or a name to be told about."""
    if random_.random() < 0.5:
        name = random_.choice(sorted(found))
        question = random_.choice((f"Tell me about {name}.", f"Tell me about {name}.", f"Who is {name}?", f"Tell me a story about {name}.", f"What happened to {name}?", f"What did {name} do?", f"Tell me about {name}", f"Write about {name}."))
        return chat(question, _passage(paragraphs, random_.choice(found[name]), random_.choice((150, 300, 500))))
    text = _passage(paragraphs, random_.randrange(len(paragraphs)), random_.choice((300, 500, 700)))
    words = text.split(" ")
    if len(words) < 12:
        return chat("Tell me a story.", text)
    cut = random_.randint(4, min(20, len(words) - 6))
    start = " ".join(words[:cut])
    return chat(random_.choice((start, start, f"Continue: {start}", f"Go on: {start}")), " ".join(words[cut:]))


def small_talk(random_: random.Random) -> str:
    """A greeting or a question to the model about itself, and the answer."""
    questions, answer = random_.choice(TALK)
    return chat(random_.choice(questions), answer)


def whereabouts(paragraphs: list[str], wanted: list[str]) -> dict[str, list[int]]:
    """The paragraphs whose first sentence speaks of each name."""
    found = {name: [] for name in wanted}
    for place, text in enumerate(paragraphs):
        if text.startswith('"') or len(text) < 80:
            continue
        first = re.split(r"[.!?;] ", text)[0][:120]
        for word in set(re.findall(r"[A-Z][a-z]+", first)):
            if word in found:
                found[word].append(place)
    return {name: places for name, places in found.items() if len(places) >= 3}
