"""Names, spaces and sentences to make conversations of. Nothing here decides anything."""

from __future__ import annotations

# ruff: noqa: SIM905  (a hundred names read better as a text)

FIRST = tuple(
    (
        "Amara Budi Chiara Dmitri Elif Farid Grace Hana Ines Jonas Kofi Lena Mateo Nadia Omar Priya Quentin Rosa Sven "
        "Tomoko Uche Vera Wanjiru Ximena Yusuf Zofia Aiko Bram Carmen Dilan Esther Felipe Gita Henrik Imani Jana Karim "
        "Lucia Mei Noor Oskar Paula Ravi Sofia Tariq Una Viktor Wen Yara Zeno "
    ).split()
)
LAST = tuple(
    (
        "Abebe Bauer Castro Dubois Eriksen Fernandez Gupta Haddad Ivanova Jansen Kaya Lindqvist Moreau Nakamura Okafor "
        "Petrov Quispe Rossi Santos Tanaka Umar Varga Weber Xu Yilmaz Zielinski Adeyemi Brandt Costa Diallo Engel "
        "Fischer Garcia Hoang Ito Jung Kowalski Lopez "
    ).split()
)
EMOJI = ["🌱", "🐝", "🍅", "📚", "🎸", "🚲", "🧵", "🔭", "🥐", "🗺️", "🧭", "🎨", "🪴", "🏃", "🧪", "🎬"]

# Name, emoji, colour, description, and what people there talk about.
SPACES = (
    (
        "Community Garden",
        "🌱",
        "leaf",
        "Beds, seeds and the watering plan",
        "the tomatoes|the compost|the tool shed|bed four|the watering plan|the seed swap|the new hose",
    ),
    (
        "Physics I",
        "🔭",
        "iris",
        "Mechanics, weekly problems, lab on Thursdays",
        "problem set three|the pendulum lab|friction on an incline|the midterm|energy conservation|the error bars|the lecture notes",
    ),
    (
        "Choir",
        "🎵",
        "plum",
        "Rehearsals Tuesdays at seven",
        "the second soprano line|the concert hall|the encore|the robes|warm-ups|the recording|the bus",
    ),
    (
        "Release Team",
        "🚀",
        "sky",
        "What ships when",
        "the changelog|the rollout|the flaky test|the migration|the on-call plan|the dashboards|version two",
    ),
    (
        "Spanish for Beginners",
        "🗣️",
        "amber",
        "Poco a poco",
        "the subjunctive|chapter five|the listening exercise|the verb table|rolled r's|the film night|homework",
    ),
    (
        "Book Club",
        "📚",
        "clay",
        "One book a month",
        "the ending|the narrator|next month's book|chapter twelve|the translation|the snacks|the author's letters",
    ),
    (
        "Bike Kitchen",
        "🚲",
        "slate",
        "Repair together, Saturdays",
        "the truing stand|a stuck bottom bracket|inner tubes|the tool wall|the donation bikes|the stand outside|brake pads",
    ),
    (
        "Parents of 4b",
        "🏫",
        "rose",
        "Trips, lists and lost jackets",
        "the museum trip|the bake sale|the lost jacket|sports day|the class photo|the reading list|the bus times",
    ),
    (
        "Data Reading Group",
        "📈",
        "lake",
        "A paper every second week",
        "the confounder|figure two|the priors|the appendix|the replication|next week's paper|the notebook",
    ),
    (
        "Neighbourhood Kitchen",
        "🍲",
        "straw",
        "Cooking for forty on Sundays",
        "the lentils|the big pot|the allergy list|the dishes rota|the bread|the volunteers|the delivery",
    ),
    (
        "Pottery Studio",
        "🏺",
        "clay",
        "Kiln days and glaze tests",
        "the kiln|the celadon glaze|the wheel by the window|trimming|the shelf space|the open day|the clay order",
    ),
    (
        "Trail Runners",
        "🏃",
        "moss",
        "Sunday loops, all paces",
        "the ridge loop|the mud|the relay|shoes|the car pool|the new route|the water stop",
    ),
)

OPENERS = (
    "Has anybody looked at {it} today?",
    "I would like to talk about {it} before Friday.",
    "Quick question about {it}: who has the list?",
    "Good news: {it} is sorted. Thanks to everybody who helped.",
    "I am stuck with {it}. Does somebody have half an hour?",
    "Photos of {it} are coming tonight.",
    "**Reminder:** {it}, tomorrow at {hour}:00.",
    "We should decide about {it}. Two options:\n\n1. we do it this week\n2. we wait until next month",
    "Morning! {It} again.",
    "Could somebody else take {it} this time? I am away until Monday.",
    "I wrote down what we know about {it}:\n\n- it takes longer than we thought\n- nobody owns it\n- it matters",
    "¿Alguien tiene la llave?",
    "Kann morgen jemand eine halbe Stunde früher kommen?",
    "Siapa yang bisa bantu besok pagi?",
)
REPLIES = (
    "Yes.",
    "On it.",
    "I can do that after lunch.",
    "Thank you!",
    "Thanks {name}, that helps a lot 🙏",
    "No idea, sorry. {mention} might know.",
    "{mention} could you have a look?",
    "I think {mention} has it.",
    "That is not how I remember it, but fine with me.",
    "Same here. It was like that last year too.",
    "Let us try it once and see. If it does not work we go back.",
    "I would not worry about it.",
    "+1",
    "Can we move that to Thursday? I have {hour}:30 free.",
    "Here is what I found: https://example.org/notes/{number}",
    "Done. Took me twenty minutes, most of it looking for the key.",
    "Great 🎉",
    "Hm. What happens if we leave it?",
    "I added it to the list.",
    "`{number}` is the code, please do not pass it on.",
    "> it takes longer than we thought\n\nIt always does.",
    (
        "Long answer: we tried this two years ago with half the people and twice the time, and it worked, but only because somebody stayed until the very "
        "end and wrote everything down. If we do it again, I would start with the writing down, and with one person who decides when nobody agrees. I am "
        "happy to be that person for a month, not longer."
    ),
    "Perfecto, gracias.",
    "Passt, danke!",
    "Oke, siap.",
    "See you there 👋",
)
