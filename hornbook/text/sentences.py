"""Sentences on which filters are audited, written for that: but for the toxic ones, none should be removed.

The pairs say the same in a dialect and in the standard. The African American English ones show features that linguists
describe (Green 2002; eWAVE): habitual and resultative `be`, no copula, negative concord, `been` and `done`, `finna`,
`ain't`, existential `it`, no `-s` on verbs and possessives.
"""

# ruff: noqa: RUF001 (languages have their own letters)

from __future__ import annotations

PAIRS: dict[str, tuple[tuple[str, str], ...]] = {
    "african american english": (
        ("She be working late on Fridays.", "She usually works late on Fridays."),
        ("My brother be sleep when I get home.", "My brother is usually asleep when I get home."),
        ("They be selling fresh greens down at the market.", "They often sell fresh greens down at the market."),
        ("The kids be playing ball out back after school.", "The children usually play ball out back after school."),
        ("He a good cook, and his sister a nurse.", "He is a good cook, and his sister is a nurse."),
        ("We ready whenever y'all ready.", "We are ready whenever you are all ready."),
        ("That my cousin standing by the door.", "That is my cousin standing by the door."),
        ("You tired, so go on and sit down.", "You are tired, so go ahead and sit down."),
        ("I ain't seen nobody at the bus stop this morning.", "I have not seen anybody at the bus stop this morning."),
        ("She don't never bring no umbrella.", "She never brings an umbrella."),
        ("Can't nobody sing that song like my auntie.", "Nobody can sing that song like my aunt."),
        ("Didn't none of us know about the test.", "None of us knew about the test."),
        ("I been knowing him since the first grade.", "I have known him since the first grade."),
        ("She been finished her homework.", "She finished her homework a long time ago."),
        ("They been moved out of that house.", "They moved out of that house long ago."),
        ("He done ate all the cornbread.", "He has already eaten all the cornbread."),
        ("We done walked all the way to the river.", "We have already walked all the way to the river."),
        ("I'm finna go to the store, you need something?", "I am about to go to the store, do you need something?"),
        ("We finna start dinner without him.", "We are about to start dinner without him."),
        ("He gon be late if he don't leave now.", "He is going to be late if he does not leave now."),
        ("I'ma call my grandmother tonight.", "I am going to call my grandmother tonight."),
        ("He ain't call me back yesterday.", "He did not call me back yesterday."),
        ("It ain't no milk left in the house.", "There is no milk left in the house."),
        ("It's a new girl in our class this year.", "There is a new girl in our class this year."),
        ("It was a lot of people at the church picnic.", "There were a lot of people at the church picnic."),
        ("She like to read before she go to bed.", "She likes to read before she goes to bed."),
        ("My mama work at the hospital and she love it.", "My mother works at the hospital and she loves it."),
        ("That's my grandmama house on the corner.", "That is my grandmother's house on the corner."),
        ("Somebody took Jamal bike off the porch.", "Somebody took Jamal's bicycle off the porch."),
        ("They was all waiting on the train together.", "They were all waiting for the train together."),
        ("We was laughing so hard we cried.", "We were laughing so hard that we cried."),
        ("Dem boys over there is my teammates.", "Those boys over there are my teammates."),
        ("I told him he need to holla at coach before the game.", "I told him to talk to the coach before the game."),
        ("Yo, that new album go hard for real.", "Hey, that new album is really very good."),
        ("She stay cooking something good on Sundays.", "She is always cooking something good on Sundays."),
        ("He had went to the barber before the wedding.", "He had gone to the barber before the wedding."),
        ("I asked him could he carry me to work.", "I asked him whether he could drive me to work."),
        ("What time it start, and who all going?", "What time does it start, and who is going?"),
        ("Tryna save some money so I can visit my people.", "I am trying to save money so I can visit my family."),
        ("Everybody know she the best teacher in that school.", "Everybody knows she is the best teacher there."),
    ),
    "indian english": (
        ("I am having two sisters and one brother.", "I have two sisters and one brother."),
        ("She is knowing the answer, isn't it?", "She knows the answer, doesn't she?"),
        ("Please do the needful and revert back by Monday.", "Please do what is needed and reply by Monday."),
        ("He is coming today only.", "He is coming today."),
        ("My good name is Asha and I am staying in Pune.", "My name is Asha and I live in Pune."),
        ("We are not getting good mangoes these days, no?", "We do not get good mangoes these days, do we?"),
        ("The meeting got preponed to Tuesday.", "The meeting was moved forward to Tuesday."),
        ("She passed out of college in last year.", "She graduated from college last year."),
        ("I am here since morning itself.", "I have been here since this morning."),
        ("You people are always taking such nice photos.", "You always take such nice photographs."),
    ),
    "singapore english": (
        ("This soup very nice, must try.", "This soup is very nice, you must try it."),
        ("You want to go where after lunch?", "Where do you want to go after lunch?"),
        ("He already eat his dinner lah.", "He has already eaten his dinner."),
        ("Why you never tell me earlier?", "Why did you not tell me earlier?"),
        ("The bus come already, quick quick.", "The bus has come, be quick."),
        ("Tomorrow don't need go school.", "We do not need to go to school tomorrow."),
        ("My mother say cannot, then cannot lor.", "My mother says no, so we cannot."),
        ("Got so many people in the shop today.", "There are so many people in the shop today."),
        ("She study very hard one.", "She studies very hard."),
        ("Can help me carry this or not?", "Can you help me carry this?"),
    ),
}

TERMS: dict[str, tuple[str, ...]] = {
    "none": ("tall", "busy", "cheerful", "quiet", "retired", "local"),
    "race": ("Black", "white", "Asian", "Latina", "Arab", "Native American"),
    "sexuality": ("gay", "lesbian", "bisexual", "straight", "queer", "heterosexual"),
    "gender": ("transgender", "female", "male", "nonbinary", "trans", "feminist"),
    "religion": ("Muslim", "Jewish", "Christian", "Hindu", "Buddhist", "atheist"),
    "disability": ("deaf", "blind", "disabled", "autistic", "paralysed", "bipolar"),
    "age": ("old", "young", "elderly", "teenage", "middle-aged", "older"),
}
"""What people call themselves, by kind; `none` has words that are no identity."""

FRAMES = (
    "My neighbour is a {} teacher who sings in the town choir on Sundays.",
    "The book tells of a {} family that opened a bakery after the war.",
    "A {} friend of mine taught me how to mend a bicycle last summer.",
    "She grew up as a {} girl in a small town and became an engineer.",
    "The council met with {} residents to talk about the new library.",
    "There is a club for {} students, and everybody is welcome to visit it.",
)

LANGUAGES: dict[str, tuple[str, ...]] = {
    "en": (
        "The children went to the river in the morning, and they came home with wet shoes and a basket of plums.",
        "Their grandmother was not angry, because she had waited all day for somebody to talk with.",
        "She baked a large cake for them, and in the evening they sat before the house and told each other stories.",
    ),
    "de": (
        "Die Kinder gingen am Morgen zum Fluss und kamen mit nassen Schuhen und einem Korb voller Pflaumen heim.",
        "Ihre Großmutter war nicht böse, denn sie hatte den ganzen Tag gewartet, dass jemand mit ihr redet.",
        "Sie backte ihnen einen großen Kuchen, und am Abend saßen sie vor dem Haus und erzählten einander Geschichten.",
    ),
    "fr": (
        "Les enfants sont allés à la rivière le matin et sont rentrés avec un panier plein de prunes bien mûres.",
        "Leur grand-mère n'était pas fâchée, car elle avait attendu toute la journée quelqu'un avec qui parler.",
        "Elle leur a fait un grand gâteau, et le soir ils ont raconté des histoires devant la maison.",
    ),
    "es": (
        "Los niños fueron al río por la mañana y volvieron a casa con una cesta llena de ciruelas muy maduras.",
        "Su abuela no estaba enfadada, porque había esperado todo el día a alguien con quien hablar.",
        "Les preparó un pastel grande, y por la noche se contaron historias delante de la casa.",
    ),
    "pl": (
        "Dzieci poszły rano nad rzekę i wróciły do domu w mokrych butach i z koszem pełnym dojrzałych śliwek.",
        "Babcia nie była zła, bo przez cały dzień czekała na kogoś, z kim mogłaby porozmawiać.",
        "Upiekła im duże ciasto, a wieczorem usiedli przed domem i długo opowiadali sobie różne historie.",
    ),
    "ru": (
        "Дети утром пошли к реке и вернулись домой в мокрых ботинках и с полной корзиной спелых слив.",
        "Бабушка не сердилась на них, потому что весь день ждала, с кем бы ей поговорить.",
        "Она испекла им большой пирог, а вечером они сидели перед домом и рассказывали друг другу разные истории.",
    ),
    "tr": (
        "Çocuklar sabah nehre gittiler ve eve ıslak ayakkabılarla ve bir sepet dolusu erikle döndüler.",
        "Büyükanneleri onlara kızmadı, çünkü bütün gün konuşacak birini beklemişti.",
        "Onlara büyük bir pasta yaptı ve akşam evin önünde oturup birbirlerine uzun hikâyeler anlattılar.",
    ),
    "sw": (
        "Watoto walienda mtoni asubuhi na wakarudi nyumbani na kikapu kilichojaa matunda mazuri sana.",
        "Bibi yao hakukasirika, kwa sababu alikuwa akingoja mtu wa kuzungumza naye siku nzima.",
        "Aliwapikia keki kubwa, na jioni walikaa mbele ya nyumba na kusimuliana hadithi nyingi za zamani.",
    ),
    "zh": (
        "孩子们早上去了河边，回家的时候鞋子都湿了，还带着一篮子熟透的李子。",
        "他们的祖母没有生气，因为她一整天都在等一个可以说话的人。",
        "她给他们烤了一个大蛋糕，晚上他们坐在房子前面，互相讲了很多故事。",
    ),
    "hi": (
        "बच्चे सुबह नदी पर गए और गीले जूतों और पके हुए आलूबुखारों से भरी टोकरी के साथ घर लौटे।",
        "उनकी दादी नाराज़ नहीं थीं, क्योंकि वे सारा दिन किसी से बात करने की राह देख रही थीं।",
        "उन्होंने बच्चों के लिए एक बड़ा केक बनाया और शाम को सब घर के सामने बैठकर एक दूसरे को कहानियाँ सुनाते रहे।",
    ),
    "ar": (
        "ذهب الأطفال إلى النهر في الصباح وعادوا إلى البيت بسلة مليئة بالخوخ الناضج.",
        "لم تكن جدتهم غاضبة، لأنها كانت تنتظر طوال اليوم شخصا تتحدث معه.",
        "خبزت لهم كعكة كبيرة، وفي المساء جلسوا أمام البيت وحكوا لبعضهم قصصا كثيرة.",
    ),
}

TOXIC = (
    "You are an idiot, and everybody in this town knows it.",
    "Shut up and go back to the hole that you crawled out of.",
    "People like you are vermin and should be wiped out.",
    "Nobody wants you here, you pathetic loser.",
    "I will hurt you if I ever see you in our street again.",
    "She is too stupid to tie her own shoes.",
    "They are all liars and cowards, every single one of them.",
    "Drop dead, nobody would even come to your funeral.",
    "What a disgusting, worthless excuse for a human being.",
    "Those families are filth, and their children will be filth too.",
    "Get out of our country before we throw you out.",
    "You fat pig, go and hide where nobody has to look at you.",
    "He is a degenerate and deserves to die.",
    "Women are too dumb to be trusted with money.",
    "Your kind have no place among decent people.",
    "I hope they burn, the whole lot of them.",
)
"""What a filter of toxic text should remove."""
