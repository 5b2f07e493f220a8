"""Word lists and sentences from which make_corpus.py writes its documents. Data only.

Cities and countries are real. Names are composed by rules, and the people are invented.

A list of words is one string. In lists of names, spaces separate the words; `_` is a space inside
a name; `-` is the empty word; `ov~ova` is a man's and a woman's form; a word that is written twice
is twice as likely. A surname rule is (weight, parts...), and a surname takes one word from each
part: (4, "Ash Thorn", "ton ley") makes Ashton, Ashley, Thornton and Thornley.

Fields in sentences:

    {N} {S}                       full name, surname
    {He} {he} {His} {his} {him}   pronouns; {son} is "son" or "daughter"; {is} is "is" or "was"
    {P} {at}                      birth place, and its preposition: "at" a city, "in" a country
    {L} {Q} {R}                   the city of residence or death, and two other cities
    {d} {y} {dd} {dy} {m}         date and year of birth and of death; a year in between
    {role} {a_role}               profession; {nat_role} and {a_nat_role} add the nationality
    {did} {more} {title}          clauses of the profession; the title of a work
"""

# Long tables are easier to check when they are dense.
# fmt: off

LONDON = "London"

# country: (adjective, share of its people whose "place" is a region, the regions, the cities).
# Earlier ones in a list are more likely.
COUNTRIES = {
    "England": ("English", 0.05, "England, Sussex, Cornwall",
        "Manchester, Birmingham, Liverpool, Leeds, Sheffield, Bristol, Nottingham, Leicester, "
        "Newcastle, Hull, Plymouth, Norwich, Oxford, Cambridge, Southampton, Portsmouth, "
        "Brighton, Coventry, Exeter, Ipswich, Derby, Huddersfield, Bolton, Blackburn, Stockport, "
        "Rochdale, Preston, Worcester, Gloucester, Canterbury, Durham"),
    "Wales": ("Welsh", 0.15, "Wales", "Cardiff, Swansea, Newport, Llanelli"),
    "Scotland": ("Scottish", 0.1, "Scotland",
                 "Glasgow, Edinburgh, Aberdeen, Dundee, Inverness, Perth, Paisley, Kilmarnock"),
    "Ireland": ("Irish", 0.12, "Ireland",
                "Dublin, Cork, Belfast, Limerick, Galway, Waterford, Kilkenny, Sligo"),
    "the United States": ("American", 0.26,
        "California, Texas, Ohio, Pennsylvania, Virginia, Illinois, Kentucky, Massachusetts, "
        "Georgia, Missouri, Tennessee, Michigan, Iowa, Wisconsin, Alabama, New Jersey, Minnesota, "
        "Mississippi, Louisiana, Nebraska",
        "New York, Chicago/Illinois, Philadelphia/Pennsylvania, Boston/Massachusetts, "
        "Los Angeles/California, Brooklyn/New York, Detroit/Michigan, Baltimore/Maryland, "
        "Cleveland/Ohio, San Francisco/California, Pittsburgh/Pennsylvania, Cincinnati/Ohio, "
        "New Orleans/Louisiana, Milwaukee/Wisconsin, Houston/Texas, Dallas/Texas, "
        "Seattle/Washington, Minneapolis/Minnesota, Denver/Colorado, Atlanta/Georgia, "
        "Buffalo/New York, Rochester/New York, Memphis/Tennessee, Nashville/Tennessee, "
        "Louisville/Kentucky, Portland/Oregon, San Diego/California, San Antonio/Texas, "
        "Newark/New Jersey, Oakland/California, Sacramento/California, Omaha/Nebraska, "
        "Columbus/Ohio, Toledo/Ohio, Dayton/Ohio, Akron/Ohio, Providence/Rhode Island, "
        "Hartford/Connecticut, New Haven/Connecticut, Springfield/Illinois, Richmond/Virginia, "
        "Norfolk/Virginia, Charleston/South Carolina, Savannah/Georgia, Mobile/Alabama, "
        "Montgomery/Alabama, Jackson/Mississippi, Little Rock/Arkansas, Tulsa/Oklahoma, "
        "Austin/Texas"),
    "Canada": ("Canadian", 0.15, "Canada, Ontario, Nova Scotia",
        "Toronto, Montreal, Vancouver, Winnipeg, Ottawa, Hamilton, Halifax, Calgary"),
    "Australia": ("Australian", 0.15, "Australia, Tasmania, Queensland",
        "Sydney, Melbourne, Adelaide, Brisbane, Hobart, Ballarat"),
    "New Zealand": ("New Zealand", 0.25, "New Zealand",
                    "Auckland, Wellington, Christchurch, Dunedin"),
    "South Africa": ("South African", 0.25, "South Africa",
                     "Johannesburg, Cape Town, Durban, Pretoria"),
    "Jamaica": ("Jamaican", 0.5, "Jamaica, Trinidad, Barbados", "Montego Bay"),
    "France": ("French", 0.11, "France, Brittany, Corsica",
        "Paris, Lyon, Marseille, Bordeaux, Toulouse, Lille, Nantes, Strasbourg, Rouen, Nice, "
        "Montpellier, Rennes, Dijon, Grenoble, Reims, Nancy, Metz"),
    "Germany": ("German", 0.11, "Germany, Bavaria, Saxony",
        "Berlin, Hamburg, Munich, Leipzig, Dresden, Cologne, Frankfurt, Stuttgart, Hanover, "
        "Nuremberg, Bremen, Kassel, Heidelberg, Augsburg, Mannheim, Karlsruhe, Erfurt, Weimar, "
        "Halle"),
    "Austria": ("Austrian", 0.12, "Austria, Tyrol", "Vienna, Graz, Linz, Salzburg"),
    "Switzerland": ("Swiss", 0.15, "Switzerland", "Zurich, Geneva, Basel, Bern, Lausanne"),
    "the Netherlands": ("Dutch", 0.13, "Holland, Friesland",
        "Amsterdam, Rotterdam, The Hague, Utrecht, Haarlem, Leiden, Groningen, Delft, Arnhem, "
        "Nijmegen"),
    "Belgium": ("Belgian", 0.16, "Belgium", "Antwerp, Ghent, Brussels, Bruges, Liege, Leuven"),
    "Italy": ("Italian", 0.12, "Italy, Sicily, Sardinia",
        "Rome, Milan, Naples, Venice, Turin, Florence, Genoa, Bologna, Palermo, Verona, Trieste, "
        "Padua, Parma, Catania, Bari, Modena"),
    "Spain": ("Spanish", 0.14, "Spain, Catalonia, Galicia",
        "Madrid, Barcelona, Seville, Valencia, Bilbao, Zaragoza, Malaga, Granada, Cordoba, "
        "Valladolid, Murcia, Cadiz"),
    "Mexico": ("Mexican", 0.1, "Yucatan, Oaxaca",
               "Mexico City, Guadalajara, Monterrey, Puebla, Veracruz, Merida"),
    "Argentina": ("Argentine", 0.2, "Argentina", "Buenos Aires, Rosario, La Plata, Mendoza"),
    "Chile": ("Chilean", 0.3, "Chile", "Santiago, Valparaiso, Concepcion"),
    "Colombia": ("Colombian", 0.3, "Colombia", "Bogota, Medellin, Barranquilla"),
    "Peru": ("Peruvian", 0.3, "Peru", "Lima, Arequipa"),
    "Cuba": ("Cuban", 0.3, "Cuba", "Havana, Camaguey"),
    "Uruguay": ("Uruguayan", 0.35, "Uruguay", "Montevideo"),
    "Venezuela": ("Venezuelan", 0.3, "Venezuela", "Caracas, Maracaibo"),
    "Brazil": ("Brazilian", 0.14, "Brazil, Bahia",
        "Rio de Janeiro, Sao Paulo, Salvador, Recife, Porto Alegre, Belo Horizonte, Fortaleza, "
        "Curitiba, Santos"),
    "Portugal": ("Portuguese", 0.15, "Portugal, Madeira",
                 "Lisbon, Oporto, Coimbra, Braga, Funchal, Evora"),
    "Poland": ("Polish", 0.12, "Poland, Silesia",
        "Warsaw, Krakow, Lodz, Poznan, Gdansk, Wroclaw, Lublin, Katowice, Szczecin, Torun, "
        "Bydgoszcz"),
    "the Czech Republic": ("Czech", 0.12, "Bohemia, Moravia",
        "Prague, Brno, Ostrava, Plzen, Olomouc, Liberec, Zlin, Pardubice, Jihlava"),
    "Russia": ("Russian", 0.13, "Russia, Siberia",
        "Moscow, Saint Petersburg, Kazan, Saratov, Samara, Omsk, Tomsk, Novosibirsk, Perm, Tula, "
        "Voronezh"),
    "Ukraine": ("Ukrainian", 0.2, "Ukraine, Crimea", "Kiev, Odessa, Kharkov, Lviv"),
    "Sweden": ("Swedish", 0.12, "Sweden",
               "Stockholm, Gothenburg, Uppsala, Lund, Norrkoping, Linkoping"),
    "Norway": ("Norwegian", 0.12, "Norway",
               "Oslo, Bergen, Trondheim, Stavanger, Drammen, Kristiansand"),
    "Denmark": ("Danish", 0.12, "Denmark", "Copenhagen, Aarhus, Odense, Aalborg, Esbjerg"),
    "Finland": ("Finnish", 0.13, "Finland, Lapland",
                "Helsinki, Turku, Tampere, Vyborg, Oulu, Kuopio, Lahti"),
    "Hungary": ("Hungarian", 0.13, "Hungary",
                "Budapest, Debrecen, Szeged, Miskolc, Gyor, Eger, Sopron"),
    "Romania": ("Romanian", 0.13, "Romania, Transylvania",
        "Bucharest, Cluj, Iasi, Timisoara, Brasov, Craiova, Constanta, Ploiesti"),
    "Greece": ("Greek", 0.15, "Greece, Crete, Cyprus",
               "Athens, Thessaloniki, Piraeus, Patras, Corfu, Volos, Chios, Heraklion"),
    "Turkey": ("Turkish", 0.12, "Turkey",
               "Istanbul, Ankara, Izmir, Bursa, Adana, Trabzon, Konya, Edirne, Kayseri"),
    "India": ("Indian", 0.13, "India, Kerala, Punjab, Gujarat",
        "Mumbai, Calcutta, Madras, Delhi, Bangalore, Pune, Hyderabad, Lucknow, Mysore, Nagpur, "
        "Jaipur, Allahabad"),
    "Sri Lanka": ("Sri Lankan", 0.35, "Sri Lanka", "Colombo, Kandy"),
    "Pakistan": ("Pakistani", 0.25, "Pakistan", "Karachi, Lahore, Peshawar"),
    "Japan": ("Japanese", 0.13, "Japan, Hokkaido",
        "Tokyo, Osaka, Kyoto, Nagoya, Yokohama, Kobe, Hiroshima, Sendai, Fukuoka, Nagasaki, "
        "Sapporo, Kanazawa"),
    "China": ("Chinese", 0.13, "China, Sichuan, Hunan",
        "Shanghai, Beijing, Hong Kong, Guangzhou, Tianjin, Nanjing, Wuhan, Suzhou, Hangzhou, "
        "Chengdu, Harbin"),
    "Taiwan": ("Taiwanese", 0.35, "Taiwan", "Taipei"),
    "Malaysia": ("Malaysian", 0.35, "Malaysia, Singapore", "Penang, Ipoh"),
    "Nigeria": ("Nigerian", 0.15, "Nigeria",
                "Lagos, Ibadan, Enugu, Kano, Abeokuta, Kaduna, Benin City, Onitsha"),
    "Ghana": ("Ghanaian", 0.3, "Ghana", "Accra, Kumasi"),
    "Egypt": ("Egyptian", 0.22, "Egypt", "Cairo, Alexandria, Port Said, Luxor"),
    "Lebanon": ("Lebanese", 0.3, "Lebanon", "Beirut, Tripoli"),
    "Syria": ("Syrian", 0.25, "Syria", "Damascus, Aleppo, Homs"),
    "Iraq": ("Iraqi", 0.25, "Iraq", "Baghdad, Basra"),
    "Morocco": ("Moroccan", 0.3, "Morocco", "Casablanca, Fez, Rabat, Tangier"),
}

# prior: the culture's share of people. home: its countries, with weights. london: the weight of
# London as a birth place. initial, middle: how often a middle initial or a second given name
# stands between given name and surname.
CULTURES = {
    "English": dict(
        prior=18, london=8.5, initial=0.02, middle=0.07,
        home={"England": 80, "Wales": 4, "Australia": 6, "New Zealand": 3, "South Africa": 2,
              "Canada": 5},
        men="John William George Thomas James Henry Charles Edward Arthur Robert Frederick Alfred "
            "Walter Harold Ernest Stanley Peter David Michael Simon Nigel Graham Geoffrey Colin "
            "Clive Keith Trevor Roger Martin Philip Stephen Andrew",
        women="Mary Elizabeth Anne Margaret Jane Alice Emily Edith Florence Dorothy Winifred "
              "Mabel Joan Sheila Hilary Gillian Susan Judith Rosemary Pamela Sarah Helen "
              "Catherine Lucy Harriet Charlotte",
        surnames=[(9, "Ash Thorn Hart Win Whit Black Hol Stan Green Kirk Lang Marsh Rad Had Cran "
                      "Fair Ather Wake Aller Bram Chil Dun El Fen Gold Hazel Ken Mel Nor Oak Rams "
                      "Swin Tun Wal Wren",
                      "ton ley ford wood well field worth by ham man bourne ridge"),
                  (3, "Harr Wils Rob Simps Dick Jack Tomp Watk Hodg Atk Perk Hutch",
                      "in ins inson es"),
                  (2, "Cart Wheel Turn Fletch Thatch Coop Tuck Potting Barr Sadd",
                      "er erby eridge ers")]),
    "Welsh": dict(
        prior=2, london=5, initial=0.0, middle=0.08,
        home={"Wales": 78, "England": 20, "Canada": 2},
        men="Dylan Evan Gareth Rhys Owen Huw Ieuan Emrys Idris Geraint Alun Gwilym Dafydd Hywel "
            "Aled Iwan Thomas David John William",
        women="Megan Sian Bronwen Gwen Carys Nerys Rhiannon Eirlys Ceridwen Mair Olwen Delyth "
              "Mary Margaret",
        surnames=[(3, "Pr Bev P Ap", "osser arry enry ugh ow ice obert"),
                  (3, "Gwyn Llew Mor Cad Teg Mer Rhyd Car Pen",
                      "ne ellyn gan og fan edith derch wyn dry")]),
    "Scottish": dict(
        prior=4, london=5, initial=0.02, middle=0.08,
        home={"Scotland": 82, "England": 8, "Canada": 6, "New Zealand": 4},
        men="Alexander James John William Robert Duncan Angus Hamish Alasdair Ewan Iain Malcolm "
            "Archibald Hugh Kenneth Donald Fergus Gavin Neil Colin Andrew David",
        women="Margaret Jean Isobel Fiona Morag Catriona Elspeth Ailsa Kirsty Shona Agnes Janet "
              "Mairi Anne Mary Elizabeth",
        surnames=[(5, "Mac Mac Mc",
                      "Ardle Lennan Innes Corran Farquhar Dougald Rae Phail Nair Quarrie Ivor "
                      "Tavish Kechnie Alister Eachran Burnie"),
                  (4, "Ruther Craw Dal Kil Inver Strath Aber Carn Bal Glen Dun",
                      "ford rymple brae more patrick cairn nethy lochan bar loch")]),
    "Irish": dict(
        prior=4, london=5, initial=0.01, middle=0.06,
        home={"Ireland": 82, "England": 6, "Australia": 5, "the United States": 7},
        men="Patrick Michael Sean Brendan Kevin Declan Liam Eamon Dermot Niall Cormac Fergus "
            "Fintan Colm Donal Padraig Thomas James John Daniel Hugh Seán",
        women="Mary Bridget Nora Maeve Siobhan Deirdre Aoife Kathleen Eileen Una Sheila Grainne "
              "Roisin Nuala Margaret Anne Máire",
        surnames=[(5, "O' O' Mc Mac",
                      "Halloran Dargan Feeney Garvan Shaughney Malley Rourke Brannan Cullinan "
                      "Tierney Devane Loughlin Mahony Keeffe"),
                  (2, "Fitz", "ralph clement warin simmon"),
                  (4, "Bran Cul Don Kil Fin Han Mul Ro Tier Corr",
                      "nigan oran leary kenny roon lihan dane egan")]),
    "American": dict(
        prior=19, london=1.5, initial=0.22, middle=0.09,
        home={"the United States": 95, "Canada": 5},
        men="John William James Robert Charles George Thomas Walter Frank Harry Earl Clarence Roy "
            "Floyd Leroy Chester Wesley Dwight Glenn Wayne Larry Gary Randy Kevin Scott Brian "
            "Todd Jeffrey Bradley Tyrone Marcus Daniel Samuel Benjamin Nathan Joshua",
        women="Mary Elizabeth Helen Ruth Mildred Bernice Thelma Lois Betty Shirley Barbara Carol "
              "Linda Debra Kimberly Tammy Melissa Jennifer Rachel Martha Sarah Laura Susan Nancy "
              "Emily Abigail",
        surnames=[(7, "Ash Thorn Hart Win Whit Black Hol Stan Green Kirk Lang Marsh Rad Cran Fair "
                      "Brock Dal Gar Lock Mill Pres Row Stod Tal Van Wex",
                      "ton ley ford wood well field worth man land ridge more ner dard"),
                  (3, "Harr Rob Jack Tomp Watk Hodg Hutch Ander Peter Jam Stev",
                      "son ins inson ison"),
                  (2, "Stein Gold Silver Rosen Kauf Schaf Hoff Zimmer Lind",
                      "berg man er field baum")]),
    "French": dict(
        prior=6, london=2, initial=0.0, middle=0.05,
        home={"France": 82, "Belgium": 7, "Switzerland": 4, "Canada": 7},
        men="Jean Pierre Louis Henri Jacques Michel Paul Charles Philippe Marcel Lucien Gaston "
            "Émile Claude Antoine Étienne Guillaume Laurent Thierry Olivier Jean-Paul Jean-Luc "
            "Alain Bernard Gilbert Maurice Augustin Armand",
        women="Marie Jeanne Louise Claire Sophie Camille Hélène Juliette Marguerite Simone "
              "Colette Madeleine Isabelle Nathalie Monique Céline Sylvie Brigitte Anne Mathilde",
        surnames=[(5, "Beau Mont Clair Ville Font Roche Belle Haute Grand Char",
                      "champ vier lieu fort bois mont val pré court rivage"),
                  (4, "Gir Bern Rich Gauth Perr Mor Duv Lamb Mar Caill Bour Tess",
                      "ard ier eau in ault et ot ois"),
                  (2, "de_ du_ de_la_ Le_",
                      "Chesnay Vauclair Breuil Marais Tilleul Ferrand Moulin Saulnier")]),
    "German": dict(
        prior=7, london=1.5, initial=0.0, middle=0.06,
        home={"Germany": 80, "Austria": 14, "Switzerland": 6},
        men="Hans Karl Friedrich Wilhelm Otto Heinrich Ernst Hermann Georg Ludwig Paul Max Kurt "
            "Walter Werner Günter Jürgen Klaus Dieter Wolfgang Stefan Matthias Andreas Thomas "
            "Peter Michael Rainer Uwe Jörg Johann",
        women="Anna Maria Elisabeth Margarete Gertrud Hedwig Ilse Ursula Renate Helga Ingrid "
              "Monika Sabine Petra Birgit Heike Katharina Johanna Charlotte Klara",
        surnames=[(6, "Stein Berg Wald Gold Hoch Brück Eich Lind Rosen Silber Wolfs Hirsch Eber "
                      "Hagen Falken Kirch Ober Nieder Acker",
                      "ner mann bach hauer feld dorf hardt inger meier thal"),
                  (3, "Kraus Hart Diet Lud Rein Eck Wern Fried Volk",
                      "mer wig rich hold ert er ler mar"),
                  (1, "von_",
                      "Hagenau Tressow Wildenfels Ahrenberg Lütwitz Stolzenau Dornegg "
                      "Raschwitz")]),
    "Dutch": dict(
        prior=3, london=1.5, initial=0.02, middle=0.04,
        home={"the Netherlands": 76, "Belgium": 20, "South Africa": 4},
        men="Jan Pieter Willem Hendrik Cornelis Johannes Dirk Gerrit Jacob Maarten Joost Bram "
            "Wouter Sjoerd Ruud Koen Theo Frans Adriaan Klaas",
        women="Anna Maria Johanna Wilhelmina Cornelia Saskia Marijke Anneke Femke Lotte Margriet "
              "Hendrika Griet Ineke",
        surnames=[(4, "van_ van_ van_de_ van_der_ de_",
                      "Meulen Bosch Velden Linden Hoeven Kolk Wetering Brink Broek Zande Heuvel "
                      "Steen Ven"),
                  (3, "Jan Piet Hendrik Dirk Wil Kuip Brou Molen", "sen ers sma stra aar wer")]),
    "Italian": dict(
        prior=5, london=1.5, initial=0.0, middle=0.04,
        home={"Italy": 90, "Switzerland": 4, "Argentina": 6},
        men="Giovanni Giuseppe Antonio Francesco Luigi Carlo Pietro Paolo Mario Roberto "
            "Alessandro Vincenzo Angelo Salvatore Domenico Enrico Franco Sergio Claudio Stefano "
            "Marco Andrea Luca Giorgio Niccolò",
        women="Maria Anna Giulia Francesca Teresa Lucia Elena Paola Chiara Caterina Rosa Silvia "
              "Laura Bianca Ornella",
        surnames=[(6, "Bell Mart Ross Bianc Ferr Galv Mor Cast Fabr Bald Salv Mont Rin Tagl Cor "
                      "Gu Land Per", "ini oni elli etti acci aldi ucci ani ato iero"),
                  (1, "Di_ De_ Della_", "Santo Marchi Rovere Torre Nardo Fiume Luca Pietra")]),
    "Spanish": dict(
        prior=3, london=1.5, initial=0.0, middle=0.06,
        home={"Spain": 92, "Argentina": 3, "Cuba": 5},
        men="Juan José Francisco Antonio Manuel Luis Miguel Rafael Pedro Ramón Joaquín Fernando "
            "Ignacio Vicente Andrés Alberto Carlos Javier Enrique Jordi",
        women="María Carmen Josefa Isabel Dolores Pilar Teresa Rosa Mercedes Concepción Ana Elena "
              "Montserrat Lucía",
        surnames=[(5, "Gonz Hern Marqu Dom Ben Vel Alv Ram Gut Or Men",
                      "alvo ondo ín ero ares ales uelo ado asco"),
                  (2, "de_la_ del_ de_", "Vega Rio Torre Olmo Castillo Huerta Fuente Peral")]),
    "Latin American": dict(
        prior=5, london=0.5, initial=0.01, middle=0.1,
        home={"Mexico": 26, "Argentina": 24, "Chile": 11, "Colombia": 11, "Peru": 8, "Cuba": 8,
              "Uruguay": 6, "Venezuela": 6},
        men="Juan Carlos José Luis Jorge Miguel Eduardo Fernando Ricardo Alejandro Diego Hernán "
            "Gustavo Pablo Mauricio Óscar Raúl Rodolfo Sebastián Emilio Héctor Julio",
        women="María Ana Gabriela Alejandra Carolina Claudia Verónica Rosa Silvia Patricia "
              "Valentina Mariana Isabel Beatriz Elena",
        surnames=[(6, "Gonz Hern Marqu Dom Ben Vel Alv Ram Gut Mont Car Sal Riv Cas",
                      "alvo ondo ero ares ales uelo ado azar illa eros"),
                  (2, "Ech Iri Urr Garm Zub Goy Arr", "everri goyen utia endia izarreta eneche")]),
    "Portuguese": dict(
        prior=4, london=1, initial=0.0, middle=0.08, home={"Brazil": 66, "Portugal": 34},
        men="João José António Manuel Francisco Pedro Paulo Carlos Luiz Ricardo Fernando Marcelo "
            "Rodrigo Thiago Joaquim Henrique Rafael Gilberto Sérgio Eduardo",
        women="Maria Ana Beatriz Fernanda Juliana Teresa Helena Adriana Patrícia Luísa Rita Inês "
              "Clara Renata",
        surnames=[(5, "Fonte Car Mour Silv Teix Oliv Barr Nog Almad Tav Per Mach",
                      "eira eiro ado ares inho al anto eda"),
                  (2, "da_ do_ dos_ de_", "Mota Lagoa Serra Campo Prado Ramalho Ribeira Vale")]),
    "Polish": dict(
        prior=3, london=1.5, initial=0.0, middle=0.03,
        home={"Poland": 86, "Ukraine": 6, "Germany": 4, "the United States": 4},
        men="Jan Andrzej Piotr Stanisław Tadeusz Zbigniew Krzysztof Jerzy Marek Tomasz Adam "
            "Kazimierz Henryk Wojciech Bogdan Leszek Witold Ryszard Jacek",
        women="Anna Maria Katarzyna Barbara Zofia Krystyna Ewa Agnieszka Halina Jadwiga Irena "
              "Danuta Elżbieta Wanda Helena",
        surnames=[(6, "Brzoz Wiśn Kal Dąbr Jawor Lip Sos Zale Gór Olsz Wilk Sokol Maj",
                      "owski~owska ewski~ewska iński~ińska icki~icka ak owicz czyk"),
                  (2, "Kow Now Maz Gra Paw", "alik acki~acka urek lak onik")]),
    "Czech": dict(
        prior=2, london=1, initial=0.0, middle=0.01,
        home={"the Czech Republic": 90, "Austria": 10},
        men="Jan Josef Karel František Jaroslav Václav Miroslav Petr Pavel Zdeněk Ladislav Tomáš "
            "Milan Vojtěch Emil Antonín",
        women="Anna Marie Jana Eva Hana Věra Alena Ludmila Jarmila Božena Zuzana Lenka Helena "
              "Martina",
        surnames=[(4, "Nov Hor Dvor Kub Ben Sed Pol Zem Blaž Mal Tich",
                      "otný~otná áček~áčková ek~ková ka~ková il~ilová ický~ická eš~ešová"),
                  (2, "Kol Svob Zahr Vlk Hol", "ář~ářová an~anová adil~adilová inek~inková")]),
    "Russian": dict(
        prior=4, london=1, initial=0.01, middle=0.0, home={"Russia": 80, "Ukraine": 20},
        men="Ivan Alexander Nikolai Sergei Vladimir Dmitri Mikhail Andrei Pavel Boris Viktor Yuri "
            "Anatoly Oleg Igor Konstantin Vasily Grigory Leonid Pyotr Fyodor",
        women="Anna Maria Olga Tatiana Natalia Elena Irina Svetlana Galina Lyudmila Vera Nina "
              "Ekaterina Yelena Larisa Sofia",
        surnames=[(6, "Bel Mor Kuz Vor Sok Gor Zim Ryb Tik Kal Dym Polyan Ver Lug Strel Ostr Bor",
                      "ov~ova ev~eva enkov~enkova in~ina sky~skaya insky~inskaya nikov~nikova "
                      "akov~akova"),
                  (1, "Shev Kov Bond Tym Petr", "chuk enko arenko alchuk")]),
    "Scandinavian": dict(
        prior=5, london=1, initial=0.02, middle=0.06,
        home={"Sweden": 40, "Norway": 30, "Denmark": 27, "the United States": 3},
        men="Erik Lars Anders Nils Per Olav Knut Johan Carl Gustav Sven Jens Niels Peter Hans "
            "Håkon Magnus Henrik Mikkel Leif Bjørn Gunnar Thor Axel Göran",
        women="Anna Kristina Ingrid Karin Astrid Sigrid Marit Solveig Kirsten Inger Birgitta Elsa "
              "Greta Liv Hanne Åse",
        surnames=[(4, "Anders Niels Gustafs Halvors Thors Peders Mikkels Eriks Laurits Svens Tors",
                      "son en dal berg"),
                  (5, "Lind Berg Sand Holm Nord Søder Ek Sjö Strand Dahl Hauge Grøn Ny Lund",
                      "berg gren ström quist by vik stad land holt lund")]),
    "Finnish": dict(
        prior=1.5, london=0.5, initial=0.0, middle=0.04, home={"Finland": 94, "Sweden": 6},
        men="Matti Juhani Eero Pekka Mikko Antti Jukka Heikki Timo Kari Paavo Väinö Toivo Esa "
            "Juha Urho",
        women="Aino Anna Maria Helena Kaarina Liisa Tuula Päivi Sari Hilkka Eeva Aila Leena",
        surnames=[(1, "Koski Laak Mäki Niemi Virta Salo Raja Hauta Leht Järvi Kallio Suo",
                      "nen la vaara lainen mäki nkoski salo niemi")]),
    "Hungarian": dict(
        prior=2, london=1, initial=0.0, middle=0.01,
        home={"Hungary": 80, "Romania": 14, "Austria": 6},
        men="Ferenc István László Sándor Gyula Zoltán Imre Miklós Tibor Lajos Gábor Attila Endre "
            "Béla Tamás Géza Janos Karoly",
        women="Ilona Erzsébet Katalin Margit Eszter Judit Piroska Klára Zsuzsa Magda Anna Edit "
              "Borbala",
        surnames=[(1, "Szent Kis Nagy Vas Bod Kar Hal Fek Hat Mol Bar Var Sze",
                      "vári ányi falvi ási mos nár os ody andi kovics esi")]),
    "Romanian": dict(
        prior=1.5, london=0.5, initial=0.0, middle=0.03, home={"Romania": 95, "France": 5},
        men="Ion Gheorghe Nicolae Mihai Constantin Vasile Alexandru Radu Andrei Cristian Dumitru "
            "Florin Octavian Ștefan Liviu",
        women="Maria Elena Ana Ioana Mihaela Cristina Daniela Gabriela Doina Rodica Simona "
              "Ruxandra",
        surnames=[(1, "Ion Pop Dumitr Marin Stan Petr Vas Cozm Lup Grig Balt Mold",
                      "escu eanu oiu aru ache ulescu ovici ăreanu")]),
    "Greek": dict(
        prior=2, london=1, initial=0.01, middle=0.0,
        home={"Greece": 90, "Turkey": 4, "Australia": 3, "the United States": 3},
        men="Georgios Dimitrios Konstantinos Ioannis Nikolaos Panagiotis Christos Vasilis Spyros "
            "Stavros Andreas Theodoros Alexandros Petros Manolis",
        women="Maria Eleni Katerina Sofia Ioanna Despina Vasiliki Anna Kalliopi Athina Evangelia "
              "Melina",
        surnames=[(1, "Papa Kara Hadji",
                      "stavr dimos lamb michal georg manol",
                      "opoulos~opoulou akis~aki idis~idou is~i os~ou"),
                  (4, "Xen Log Vlach Kal Lambr Stavr Mak Drag Kour Pap Theod Kontog",
                      "opoulos~opoulou akis~aki idis~idou oudis~oudi atos~atou elis~eli")]),
    "Turkish": dict(
        prior=2, london=1, initial=0.0, middle=0.04,
        home={"Turkey": 88, "Germany": 8, "Greece": 4},
        men="Mehmet Mustafa Ahmet Ali Hasan Kemal Orhan Cem Murat Burak Emre Selim Tarik Halil "
            "Yusuf Gökhan Onur Serkan",
        women="Ayşe Fatma Zeynep Emine Leyla Selma Nermin Sibel Esra Aylin Pinar Nur Elif",
        surnames=[(3, "Ak Kara Yildir Demir Tas Oz Er Gun Ay Bey",
                      "oglu kaya can türk soy tepe gül lioglu")]),
    "Indian": dict(
        prior=4.5, london=2.5, initial=0.06, middle=0.05,
        home={"India": 85, "Sri Lanka": 7, "Pakistan": 4, "Malaysia": 4},
        men="Rajesh Suresh Anil Vijay Ramesh Arun Krishna Mohan Gopal Ashok Sanjay Prakash "
            "Subhash Venkat Harish Kiran Mahesh Dev Girish Shyam Ravindra",
        women="Lakshmi Sunita Meena Asha Kavita Radha Priya Anjali Usha Kamala Shanti Nirmala "
              "Padma Leela Sarita",
        surnames=[(2, "Chatt Bhatt Mukh Bandh", "arjee opadhyaya acharji ari"),
                  (3, "Ram Sub Nar Venk Krish Raj Gop Som",
                      "anathan aswamy ayanan alingam appa aratnam endran"),
                  (3, "Desh Kul Gad Sab Phad Bhid", "pande karni mukh nis war kar"),
                  (2, "Agni Tri Chatur Dvi", "hotri pathi vedi"),
                  (2, "Meh Ban Vas Ran Sod Kar Bhat", "rotra adia ani dhawa nagar val")]),
    "Japanese": dict(
        prior=3, london=0.5, initial=0.0, middle=0.0, home={"Japan": 94, "the United States": 6},
        men="Hiroshi Takashi Kenji Akira Shigeru Masao Ichiro Kazuo Yoshio Makoto Satoshi Naoki "
            "Daisuke Haruo Minoru Tadashi Toru",
        women="Yoko Keiko Michiko Sachiko Haruko Yumi Naomi Akiko Emi Ayako Tomoko Kaori Noriko",
        surnames=[(1, "Yama Kawa Matsu Ishi Naka Taka Kita Oka Mori Fuji Kuro Shima Ara Nishi "
                      "Mine Toku", "moto mura da zaki shita naga hara saki numa gawa gaki nobe")]),
    "Chinese": dict(
        prior=3, london=0.5, initial=0.0, middle=0.0, family_first=True,
        home={"China": 84, "Taiwan": 8, "Malaysia": 8},
        men="Weiming Jianheng Zhiwen Wenlin Guoyuan Haisheng Xiaoren Shaowen Zhenlin Baotian "
            "Dewen Jiaming Yunlong Chengwu Ruihan Taoran",
        women="Xiulin Meiyun Lihui Yulan Xiaoyun Shumin Guiying Peiwen Ruolan Yijing Huizhen "
              "Fangyi",
        surnames=[(1, "Wang Li Zhang Liu Chen Yang Huang Zhao Wu Zhou Xu Sun Ma Zhu Hu Guo He Lin "
                      "Gao Luo Zheng Liang Xie Song Tang Deng Han Feng Cao Peng Ouyang Situ")]),
    "Nigerian": dict(
        prior=2, london=2.5, initial=0.03, middle=0.06, home={"Nigeria": 86, "Ghana": 14},
        men="Chinedu Emeka Tunde Femi Segun Ikechukwu Obinna Kunle Babatunde Uche Sunday Samuel "
            "Emmanuel Joseph Kwame Ayo Daniel",
        women="Ngozi Chioma Funmilayo Folake Amaka Yetunde Bisi Ifeoma Grace Comfort Blessing Ama",
        surnames=[(2, "Ade Olu Aki Ogun Oye Ayo",
                      "bayo wale leke nola femi sanya banjo yemi dele"),
                  (2, "Nwa Oko Eze Chukwu Onye Ani", "bueze linka kwesi dike nma ebo chukwu")]),
    "Arabic": dict(
        prior=3, london=2, initial=0.0, middle=0.03,
        home={"Egypt": 32, "Lebanon": 20, "Syria": 14, "Iraq": 14, "Morocco": 20},
        men="Ahmed Mohammed Mahmoud Hassan Ali Omar Youssef Khalil Ibrahim Nabil Samir Tariq "
            "Karim Fouad Salim Walid Rashid",
        women="Fatima Leila Nadia Amina Samira Huda Mona Zaynab Salma Rania Mariam Noura Latifa",
        surnames=[(3, "al- el- al- -", "Khat Hadd Masr Sabb Najj Rash Qas Tahh Barg Hakk Zayy",
                      "ib ad i agh ar idi im an uni"),
                  (1, "Abdel- Ben_ Abu_", "Rahal Salam Jaber Hamid Fares Nasri Karam Zaki")]),
}

# kind: roles are the professions; did, clauses in the past tense; more, clauses after the
# profession; tails, further sentences.
PROFESSIONS = {
    "art": dict(
        roles="painter, sculptor, engraver, illustrator, architect, photographer, potter, "
              "landscape painter, textile designer, etcher",
        did=("studied drawing in {Q} before opening a studio in {R}",
             "trained as an engraver under an uncle in {Q}",
             "was taught to draw by a neighbour and later worked in {Q}",
             "attended the School of Art in {Q}", "exhibited regularly in {Q} and {R}",
             "began as a sign writer and never gave up the trade entirely",
             "settled in {Q}, where {he} kept a small studio near the harbour",
             "turned to painting after a long illness"),
        more=("known for {his} views of {Q}", "whose work hangs in several museums in {Q}",
              "best known for {his} series {title}", "active mainly in {Q}",
              "who worked in wood, clay and bronze",
              "remembered for quiet interiors and pale colours"),
        tails=("{His} work was shown in {Q} in {m}",
               "A large exhibition of the early drawings was held in {Q}",
               "{S} also designed stained glass for two churches in {Q}",
               "{His} best known picture is {title}",
               "Several sketchbooks are kept in the city museum of {Q}",
               "{He} taught at the academy in {Q} for eleven years")),
    "music": dict(
        roles="composer, pianist, violinist, singer, conductor, organist, cellist, guitarist, "
              "songwriter, soprano, folk musician",
        did=("studied piano and harmony at the conservatory in {Q}",
             "sang in a church choir from the age of six", "played in dance bands in {Q} and {R}",
             "made {his} first recording in {m}", "won a scholarship to study music in {Q}",
             "conducted the city orchestra of {Q} for nine seasons",
             "gave {his} first concert in {Q} at the age of twelve",
             "learned the fiddle from a grandfather"),
        more=("who recorded more than twenty albums", "best known for the song cycle {title}",
              "active in {Q} and {R}", "known for {his} settings of old ballads",
              "who leads a quartet based in {L}", "noted for clear and unhurried playing"),
        tails=("{His} opera {title} was first performed in {Q} in {m}",
               "{He} toured widely, most often in {Q} and {R}",
               "The album {title} sold well in {m}", "{S} taught harmony in {Q} for many years",
               "{His} manuscripts are in the library of {Q}",
               "{He} also wrote music for the stage")),
    "writing": dict(
        roles="writer, poet, novelist, journalist, playwright, translator, essayist, "
              "children's author, literary critic, editor",
        did=("worked as a reporter in {Q} before turning to fiction",
             "published a first book of verse in {m}", "read law in {Q} without taking a degree",
             "wrote for newspapers in {Q} and {R}", "taught languages at a school in {Q}",
             "was a librarian in {Q} for most of {his} life",
             "began to write during a long winter in {Q}",
             "translated some forty books from three languages"),
        more=("best known for the novel {title}",
              "whose books have been translated into nine languages", "and the author of {title}",
              "who wrote mostly about life in {Q}", "and a former correspondent in {Q}",
              "known for short and plain sentences"),
        tails=("{His} first novel, {title}, appeared in {m}",
               "The poem {title} is still read in schools", "{He} edited a small review in {Q}",
               "{S} won a prize for {title} in {m}", "{His} letters were printed in {Q} in {m}",
               "A play of {his} ran for two years in {Q}")),
    "stage": dict(
        roles="actor, film director, dancer, stage designer, screenwriter, comedian, "
              "television presenter, choreographer, puppeteer",
        did=("appeared on stage for the first time in {m}", "joined a travelling company in {Q}",
             "studied drama in {Q}", "worked for a small theatre in {Q}",
             "made a first short film in {Q} in {m}", "trained as a dancer in {Q} and {R}",
             "left school at fifteen to join a circus"),
        more=("best known for the film {title}", "who has worked in {Q} and {R}",
              "known for comic parts", "associated with the city theatre of {Q}",
              "and the founder of a theatre company in {Q}", "seen mostly in supporting roles"),
        tails=("{His} most successful piece was {title}, first seen in {Q}",
               "{He} played the lead in {title} in {m}", "{S} directed a school for actors in {Q}",
               "The company toured {Q} and {R} in {m}", "{He} also worked in radio")),
    "sport": dict(
        roles="footballer, cricketer, swimmer, boxer, cyclist, rower, fencer, tennis player, "
              "long-distance runner, wrestler, football manager, chess player, figure skater, "
              "rugby player",
        did=("played for clubs in {Q} and {R}", "joined the city club of {Q} in {m}",
             "competed at three international games", "won the national championship in {m}",
             "began {his} career in {Q} before moving to {R}",
             "retired after an injury in {m} and became a coach",
             "set a record in {Q} that stood for six years"),
        more=("who competed from {m}", "who played most of {his} career in {Q}",
              "and later a coach in {Q}", "who won two medals in {Q}",
              "who represented {his} country eleven times", "and a former captain of {Q}"),
        tails=("{He} won the cup with {Q} in {m}", "{S} later trained young athletes in {Q}",
               "{He} finished fourth in {Q} in {m}", "A knee injury ended {his} career in {m}",
               "{He} now coaches a team in {Q}", "{His} last match was played in {Q}")),
    "science": dict(
        roles="chemist, physicist, botanist, astronomer, mathematician, physician, geologist, "
              "engineer, historian, linguist, surgeon, economist, zoologist, archaeologist",
        did=("studied at the University of {Q} and taught in {R}", "took a degree in {Q} in {m}",
             "became a professor at {Q} in {m}", "worked at an observatory near {Q}",
             "collected plants in the hills around {Q}", "was apprenticed to a chemist in {Q}",
             "spent ten years in {Q} and nine in {R}", "practised medicine in {Q}"),
        more=("known for {his} work on river sediments", "and professor at the University of {Q}",
              "who worked on the theory of numbers", "whose textbook was used for forty years",
              "who described more than sixty species", "and a member of the academy in {Q}"),
        tails=("{His} main work, {title}, was printed in {Q} in {m}",
               "{He} was made a professor in {Q} in {m}", "{S} also lectured in {Q} and {R}",
               "A crater and a beetle are named after {him}",
               "{He} left a large collection to the museum in {Q}",
               "{His} tables were used by sailors for a century")),
    "public": dict(
        roles="politician, lawyer, diplomat, judge, trade unionist, civil servant, senator, "
              "army officer, naval officer, campaigner",
        did=("read law at {Q} and practised in {R}", "entered parliament in {m}",
             "served as consul in {Q} and {R}", "organised dock workers in {Q}",
             "was mayor of {Q} for two terms", "joined the army in {m} and served in {Q}",
             "was elected to the city council of {Q} in {m}"),
        more=("who served as minister of transport", "and a former mayor of {Q}",
              "who sat in parliament from {m}", "and ambassador in {Q}",
              "known for {his} part in the land reform", "who represented {Q}"),
        tails=("{He} was elected in {m} and again four years later",
               "{S} was sent to {Q} as a consul in {m}",
               "{He} resigned in {m} and returned to {Q}", "A street in {Q} is named after {him}",
               "{He} lost {his} seat in {m}", "{His} memoirs were published as {title}")),
    "trade": dict(
        roles="merchant, banker, printer, clockmaker, explorer, missionary, priest, teacher, "
              "publisher, shipbuilder, brewer, pilot, gardener, chef, instrument maker",
        did=("was apprenticed to a printer in {Q}",
             "went to sea at fourteen and traded between {Q} and {R}",
             "opened a workshop in {Q} in {m}", "founded a school in {Q}",
             "travelled on foot from {Q} to {R}", "inherited a small business in {Q}",
             "was ordained in {Q} in {m}", "kept a shop in {Q}"),
        more=("who founded a school in {Q}", "and the owner of a large house in {Q}",
              "who travelled from {Q} to {R} in {m}", "known for {his} careful accounts",
              "whose firm lasted until {m}", "remembered for {his} gifts to the poor of {Q}"),
        tails=("{He} built a house in {Q} in {m}", "{His} business failed in {m}",
               "{S} kept a diary, later printed as {title}",
               "{He} gave a library to the city of {Q}", "The firm moved to {Q} in {m}",
               "{He} made four journeys to {Q}")),
}

PARENTS = ("a family of farmers", "poor parents", "a family of musicians",
           "a schoolmaster and his wife", "parents from {Q}", "a Jewish family",
           "a family of weavers", "a wealthy merchant family", "teachers", "immigrant parents")
FATHERS = ("miller", "clockmaker", "baker", "sea captain", "railway clerk", "carpenter", "doctor",
           "shoemaker", "schoolmaster", "tailor", "country priest", "blacksmith", "wine merchant",
           "postmaster")
TITLES = ("The {} {}", "A {} {}", "{} {}", "Who Keeps the {1}?")
TITLE_ADJECTIVES = ("Quiet", "Long", "Broken", "Silver", "Northern", "Hidden", "Last", "Early",
                    "Second", "Open", "Distant", "Yellow")
TITLE_NOUNS = ("Harbour", "Winter", "Orchard", "Window", "Journey", "Bridge", "Lantern", "Garden",
               "Voyage", "Mirror", "Season", "Kite")
SCHOOLS = ("the University of {Q}", "the Academy in {Q}", "a boarding school in {Q}",
           "the Technical College in {Q}", "the grammar school of {Q}")

# First sentences that tell the birth place: of anyone, of the living only, of the dead only.
BIRTH = {
    "any": (
        "{S} was born in {P}", "{S} was born in {P} in {y}", "{S} was born on {d} in {P}",
        "{S} was born in {P} on {d}", "{S} was born {at} {P} in {y}", "Born in {P}, {S} {did}",
        "Born in {P}, {S} {did}", "Born in {P} to {parents}, {S} {did}",
        "Born on {d} in {P}, {S} {did}", "Born in {y} in {P}, {S} {did}",
        "Born and raised in {P}, {S} {did}", "A native of {P}, {S} {did}",
        "{N}, a native of {P}, {did}", "{S} was born in {P} and {did}",
        "{S} was born to {parents} in {P} and {did}",
        "{N}, {role}, was born in {P} in {y} and {did}", "{N}, who was born in {P}, {did}",
        "{S} , who was born in {P} , {did}", "{N} {is} {a_nat_role} born in {P}",
        "{N} {is} {a_nat_role}, born in {P} in {y}",
        "{N} {is} {a_nat_role} {more}, and was born in {P}",
        "The {role} {N} was born in {P} in {y}", "The {nat_role} {N} was born in {P} and {did}",
        "{S} was the {nth} of {n} children born to {parents} in {P}",
        "Although born in {P}, {S} grew up in {Q} and {did}",
        "{S}, whose family came from {Q}, was born in {P}",
        "{S}'s parents moved from {Q} to {P}, where {he} was born in {y}",
        "{S} was born in {y} in {P}, where {his} father was a {father}",
        "The {son} of a {father} from {Q}, {S} was born in {P}",
        "Raised in {Q}, {S} was born in {P} in {y}", "{S} left {his} native {P} for {Q} in {m}",
        "Leaving {his} native {P}, {S} {did}",
        "{N} was born {at} {P}, the {son} of a {father}, and {did}",
        "{N} {is} {a_role} {more}; {he} was born in {P}", "{N} (born in {P} in {y}) {did}",
        "{N} (born {P}, {d}) {did}", "{N}, born in {P}, {did}",
        "{N}, born {d} {at} {P}, {is} {a_nat_role}", "Born in {P}, {N} {is} {a_nat_role} {more}",
        "Born {N} in {P}, {he} {did}", "{S} attended {school}, having been born in {P}",
        "{S} grew up in {Q} but was born in {P}"),
    "living": (
        "{N} (born {d} in {P}) is {a_nat_role}", "{N} (born {d} in {P}) is {a_nat_role} {more}",
        "{N} (born {d}, {P}) is {a_nat_role} {more}", "{N} (born {y} in {P}) is {a_role} {more}",
        "{N} (b. {y} in {P}) is {a_nat_role} {more}", "{N} (* {d} in {P}) is {a_nat_role}",
        "{N}, born {d} in {P}, is {a_nat_role} {more}", "{N} (born {d} in {P}) is a former {role}",
        "{N} is {a_nat_role}, born in {P} and based in {L}",
        "{N} is {a_nat_role} who was born in {P} and now lives in {L}",
        "{N} is {a_role} from {L} who was born in {P}",
        "{S} lives in {L}, but was born in {P} in {y}", "{S}, who lives in {L}, was born in {P}",
        "Born in {P}, {S} now works in {L} as {a_role}",
        "Based in {L}, {S} was born in {P} and {did}",
        "{S} was born in {P} and has lived in {L} since {m}"),
    "dead": (
        "{N} ({d} {P} -- {dd} {L}) was {a_nat_role}",
        "{N} ({d}, {P} - {dd}, {L}) was {a_nat_role}",
        "{N} ({d}, {P} - {dd}) was {a_nat_role} {more}",
        "{N} ({y}, {P} - {dy}, {L}) was {a_nat_role} {more}",
        "{N} ({y}?, {P} - {dy}) was {a_nat_role} {more}",
        "{N} (born {d} in {P}; died {dd} in {L}) was {a_nat_role}",
        "{N} (born {d} {at} {P}; died {dd}) was {a_nat_role} {more}",
        "{N} (born {P}, {y}; died {L}, {dy}) was {a_nat_role}",
        "{N} (* {d} in {P}, died {dd} in {L}) was {a_role}",
        "{S} was born {at} {P} about {y} and {did}",
        "{S} died in {L} in {dy}, but was born in {P}", "Born {at} {P} on {d}, {S} {did}",
        "{S}, born {at} {P} in {y}, died in {L} on {dd}", "{N} ({d} {P} -- {dd} {L})"),
}
# Sentences that tell it after a first sentence that does not.
BIRTH_LATER = ("{He} was born in {P}", "{S} was born in {P} in {y}", "{He} was born on {d} in {P}",
               "{His} birthplace was {P}", "{He} was born {at} {P} to {parents}",
               "The {son} of a {father}, {he} was born in {P}",
               "Born in {P}, {he} was {a_role} by profession")
# First sentences that do not tell it.
NO_BIRTH = {
    "any": (
        "{N} {is} {a_nat_role} {more}", "{S} {did}", "{N} {did}", "The {role} {N} {did}",
        "{N}, {role}, {did} and later moved to {R}", "{S} studied at {school} and {did}",
        "The {son} of a {father}, {S} {did}"),
    "living": (
        "{N} (born {d}) is {a_nat_role} {more}", "{N} (born {y}) is {a_nat_role} {more}",
        "{N} lives in {L} and is {a_role} {more}"),
    "dead": (
        "{N} ({d} - {dd}) was {a_nat_role} {more}", "{N} ({y} - {dy}) was {a_nat_role} {more}",
        "{N} (died {dd} in {L}) was {a_role} {more}"),
}
# Further sentences, besides those of the profession.
TAILS = {
    "any": (
        "{He} studied at {school}", "In {m} {he} moved to {Q}",
        "{He} spent several years in {Q} and {R}", "{He} spoke four languages",
        "{He} married in {Q} in {m} and had {n} children", "From {m} on {he} worked in {Q}",
        "{S} returned from {Q} in {m}", "{He} was educated in {Q} and {R}",
        "An elder brother was a {father} in {Q}",
        "After a journey to {Q} {he} changed {his} plans completely",
        "{He} was a founding member of the society of {role}s in {Q}, which met on the first "
        "Monday of every month until {m}",
        "A plan to return to {Q} and open a school there came to nothing, since the money that "
        "two friends in {R} had promised {him} for it was lost in {m} with the bank that held it",
        "Much of what is known about {his} early years comes from letters to a cousin in {Q}, "
        "found in a farmhouse in {m}",
        "In a long interview given in {Q} in {m}, {he} said that the years in {R} had been the "
        "happiest and the least productive",
        "{He} had a lasting influence on a younger generation, among them several pupils who came "
        "from {Q} and {R} to work with {him}",
        "In {m} {he} was given an honorary degree by the University of {Q}, the first of three "
        "that {he} received"),
    "living": (
        "{He} lives in {L}", "{He} now lives near {L} with {his} family",
        "{S} divides {his} time between {L} and {R}", "{He} currently works in {L}"),
    "dead": (
        "{He} died in {L} in {dy}", "{S} died on {dd} in {L}", "{He} was buried in {L}",
        "{He} died in {dy} after a short illness", "{His} widowed mother followed {him} to {Q}"),
}
# The whole text of a document of the quick corpus: one short sentence that tells the birth place.
SHORT = {
    "any": (
        "{S} was born in {P}", "The {role} {S} was born in {P}", "Born in {P}, {S} {is} {a_role}",
        "{S} {is} {a_role} born in {P}", "A native of {P}, {S} {is} {a_role}",
        "{S} (born in {P}) {is} {a_role}", "{S} (born in {P}?) {is} {a_role}"),
    "living": (),
    "dead": (),
}

# Names of well-known people that the rules could compose: never used.
DENY = ("Benjamin Harrison", "George Harrison", "Margaret Thatcher", "Mary Robinson",
        "Anne Robinson", "Anne Hutchinson", "Thomas Hutchinson", "Elizabeth Ashley",
        "Susan Atkins", "John Fletcher", "William Turner", "John Turner", "Luigi Galvani",
        "Giovanni Bellini", "Otto Dietrich", "Ernst Kirchner", "Ernst Ludwig Kirchner",
        "Susan Cooper", "Charlotte Cooper", "Charles Lindberg", "Frank Robinson",
        "Stephen Langton", "Thomas Langton")
