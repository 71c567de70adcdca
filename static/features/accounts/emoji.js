/** The emoji somebody can have as their picture, in groups, each with the words it is found by. */

const WORDS = {
  Faces: `
    😀 grinning, 😃 happy, 😄 laughing, 😁 beaming,
    😆 squinting laugh, 😅 sweat smile, 😂 tears of joy, 🙂 slightly smiling, 🙃 upside-down, 😉 winking,
    😊 blushing smile, 😇 angel halo, 🥰 in love hearts, 😍 heart eyes,
    🤩 star eyes, 😘 kiss, 😋 yum tasty, 😛 tongue out,
    😜 winking tongue, 🤪 zany, 🤗 hug,
    🤭 giggle hand over mouth, 🤔 thinking, 🤨 raised eyebrow, 😐 neutral, 😶 speechless no mouth, 😏 smirking,
    🙄 rolling eyes, 😌 relieved, 😴 sleeping, 🤤 drooling, 😎 cool sunglasses, 🤓 nerd, 🧐 monocle, 🥳 party, 🥺 pleading,
    😳 flushed, 🤯 mind blown, 😤 huffing, 🫡 salute, 🤠 cowboy, 🤡 clown, 🥸 disguise, 👻 ghost, 👽 alien,
    🤖 robot, 🎃 pumpkin halloween, 💀 skull`,
  People: `
    👋 wave, 🙌 raised hands hooray, 👏 clapping, 🤝 handshake, 🙏 folded hands thanks, 💪 strong arm, 👍 thumbs up, 👌 ok hand, 🤘 horns rock, 🫶 heart hands,
    🖖 vulcan, 👀 eyes, 🧠 brain, 👶 baby, 🧒 child, 👦 boy, 👧 girl, 🧑 person, 👨 man, 👩 woman, 🧓 older person, 👴 older man, 👵 older woman, 🥷 ninja, 👷 builder,
    💂 guardsman, 👸 princess, 🤴 prince, 🧙 mage, 🧚 fairy, 🧛 vampire, 🧜 merperson, 🧞 genie, 🧟 zombie, 🦸 superhero, 🦹 supervillain, 🎅 father christmas,
    🧗 climbing, 🏄 surfing, 🚴 cycling, 🧘 meditating yoga, 🕺 dancing man, 💃 dancing woman`,
  Animals: `
    🐶 dog, 🐱 cat, 🐭 mouse, 🐹 hamster, 🐰 rabbit, 🦊 fox, 🐻 bear, 🐼 panda, 🐨 koala, 🐯 tiger, 🦁 lion, 🐮 cow, 🐷 pig, 🐸 frog, 🐵 monkey, 🐔 chicken, 🐧 penguin,
    🐦 bird, 🐤 chick, 🦆 duck, 🦅 eagle, 🦉 owl, 🦇 bat, 🐺 wolf, 🐗 boar, 🐴 horse, 🦄 unicorn, 🐝 bee, 🐛 bug, 🦋 butterfly, 🐌 snail, 🐞 ladybird, 🐜 ant,
    🕷️ spider, 🐢 turtle, 🐍 snake, 🦎 lizard, 🐙 octopus, 🦑 squid, 🦐 shrimp, 🦀 crab, 🐡 puffer fish, 🐠 tropical fish, 🐬 dolphin, 🐳 whale, 🦈 shark,
    🐊 crocodile, 🐘 elephant, 🦒 giraffe, 🦘 kangaroo, 🐪 camel, 🦙 llama, 🐐 goat, 🐑 sheep, 🐕 dog whole, 🐈 cat whole, 🐓 rooster, 🦜 parrot, 🦢 swan,
    🦩 flamingo, 🦔 hedgehog, 🦝 raccoon, 🦫 beaver, 🦦 otter, 🦥 sloth, 🐿️ squirrel, 🐉 dragon, 🦕 sauropod, 🦖 t-rex`,
  Plants: `
    🌱 seedling, 🌿 herb, ☘️ shamrock, 🍀 four leaf clover, 🪴 potted plant, 🌵 cactus, 🌴 palm tree, 🌳 deciduous tree, 🌲 evergreen tree, 🎋 tanabata tree,
    🍃 leaf fluttering in wind, 🍂 fallen leaf, 🍁 maple leaf, 🍄 mushroom, 🐚 shell, 🌾 ear of rice, 💐 bouquet, 🌷 tulip, 🌹 rose, 🥀 wilted flower, 🌺 hibiscus,
    🌸 cherry blossom, 🌼 blossom, 🌻 sunflower, 🪷 lotus, 🪻 hyacinth, 🌰 chestnut, 🪹 nest`,
  Food: `
    🍎 red apple, 🍐 pear, 🍊 tangerine, 🍋 lemon, 🍌 banana, 🍉 watermelon, 🍇 grapes, 🍓 strawberry, 🫐 blueberries, 🍒 cherries, 🍑 peach, 🥭 mango, 🍍 pineapple,
    🥥 coconut, 🥝 kiwifruit, 🍅 tomato, 🥑 avocado, 🥦 broccoli, 🌽 corn maize, 🥕 carrot, 🌶️ chilli, 🧄 garlic, 🧅 onion, 🥔 potato, 🍞 bread, 🥐 croissant,
    🥨 pretzel, 🧀 cheese wedge, 🥚 egg, 🍳 cooking egg pan, 🥞 pancakes, 🧇 waffle, 🍔 hamburger, 🍟 chips fries, 🍕 slice of pizza, 🌭 hot dog, 🥪 sandwich,
    🌮 taco, 🥗 salad, 🍝 spaghetti, 🍜 noodles soup, 🍲 stew pot, 🍣 sushi, 🥟 dumpling, 🍤 fried shrimp, 🍙 rice ball, 🍚 cooked rice, 🍦 ice cream, 🍰 cake slice,
    🎂 birthday cake, 🍩 doughnut, 🍪 cookie, 🍫 chocolate bar, 🍯 honey pot, ☕ coffee, 🍵 green tea, 🧋 bubble tea, 🍺 beer mug, 🍷 wine glass`,
  Doing: `
    ⚽ football soccer, 🏀 basketball and hoop, 🏈 american football, ⚾ baseball, 🎾 tennis racquet and ball, 🏐 volleyball, 🏉 rugby, 🎱 billiards,
    🏓 table tennis paddle and ball, 🏸 badminton racquet and shuttlecock, 🥊 boxing glove, 🥋 martial arts judo, ⛳ golf, ⛸️ ice skate,
    🎣 fishing pole and fish, 🎿 skis, 🛷 sled, 🏆 trophy, 🥇 gold medal, 🎯 darts target, 🎲 die dice, 🧩 jigsaw puzzle piece, 🎮 video game, 🎭 theatre masks,
    🎨 painting palette art, 🧵 spool of thread, 🧶 ball of yarn, 🎬 film clapper, 🎤 microphone sing, 🎧 headphone, 🎼 music score, 🎹 piano keyboard,
    🥁 drum with drumsticks, 🎷 saxophone, 🎺 trumpet, 🎸 guitar, 🪕 banjo, 🎻 violin, ♟️ chess pawn, 🏹 bow and arrow archery, 🪁 kite, 🛹 skateboard`,
  Places: `
    🌍 earth globe, 🌙 moon, ⭐ star, 🌟 glowing star, ✨ sparkles, ⚡ lightning, 🔥 fire, 🌈 rainbow, ☀️ sun, 🌤️ sun and cloud, 🌧 rain, ❄️ snowflake,
    ☃️ snowman, 🌊 wave sea, 💧 drop water, ⛰️ mountain, 🏔️ snowy mountain, 🌋 volcano, 🏕️ camping, 🏝️ island, 🏡 house garden, 🏠 house home, 🏢 office,
    🏫 school, 🏰 european castle, 🗼 tower, ⛵️ sailing boat, 🚀 rocket, ✈️ aeroplane, 🚁 helicopter, 🛸 flying saucer ufo, 🚲 bicycle bike, 🛴 scooter, 🚗 car,
    🚌 bus, 🚂 train steam, 🚜 tractor farm, ⚓ anchor, 🗺️ map, 🧭 compass, 🎡 ferris wheel, 🎪 circus, ⛺ tent, 🌃 night city, 🌅 sunrise`,
  Things: `
    💡 light bulb idea, 🔦 electric torch, 🕯️ candle, 📚 books, 📖 open book read, ✏️ pencil, 🖊️ pen, 🖌️ paintbrush, 📐 set square, 📎 paperclip, 📌 pin,
    ✂️ black scissors, 📷 camera, 🎥 movie camera, 📻 radio, 💻 laptop computer, ⌨️ keyboard, 🖥️ screen computer, 💾 disk save, 📱 phone mobile, ☎️ telephone,
    ⏰ alarm clock, ⏳ hourglass, 🔭 telescope, 🔬 microscope, 🧪 test tube chemistry, 🧬 dna, 🩺 stethoscope, 💊 pill, 🔑 key, 🔒 lock, 🔨 hammer,
    🛠️ hammer and wrench tools, ⚙️ gear, 🧰 toolbox, 🧲 magnet, 🪛 screwdriver, 🪚 carpentry saw, 🧱 brick, 🪣 bucket, 🧹 broom, 🧺 basket, 🛒 shopping trolley,
    🎁 wrapped present, 🎈 balloon, 🎉 party popper, 📦 parcel box, ✉️ letter envelope, 📮 postbox, 🗄️ filing cabinet, 🗃️ card box, 💎 gem diamond, 👑 crown,
    🎩 top hat, 👓 glasses, 🧢 cap, 🧣 scarf, 🎒 backpack school, ☂️ umbrella, 🧳 suitcase luggage, 🛎️ bell hotel, 🪑 chair, 🛋️ sofa couch, 🧸 teddy bear,
    🪆 nesting dolls, 🔔 bell, 🪄 magic wand`,
  Signs: `
    ❤️ red heart, 🧡 orange heart, 💛 yellow heart, 💚 green heart, 💙 blue heart, 💜 purple heart, 🖤 black heart, 🤍 white heart, 🤎 brown heart,
    💖 sparkling heart, 💫 dizzy star, 💥 bang, 💬 speech, 💭 thought, 🕊️ dove peace, ☮️ peace, ☯️ yin yang, ♾️ infinity, ✅ tick done, ❗ exclamation,
    ❓ question, 🔴 red circle, 🟠 orange circle, 🟡 yellow circle, 🟢 green circle, 🔵 blue circle, 🟣 purple circle, ⚫ medium black circle,
    ⚪ medium white circle, 🔺 red triangle, 🔷 blue diamond, 🎵 note music, 🎶 notes music, ♻️ recycling, ⚜️ lily, 🏁 chequered flag, 🚩 red flag`,
};

/** `[[group, [{emoji, name}]]]`. */
export const EMOJI_GROUPS = Object.entries(WORDS).map(([group, text]) => [
  group,
  text.split(",").map((entry) => {
    const [emoji, ...words] = entry.trim().split(" ");
    return { emoji, name: words.join(" ") };
  }),
]);
