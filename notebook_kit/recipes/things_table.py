"""What each class of things consists of: files of Debian's and npm's packages, sorted by style.

Paths are without `.png`. Photographs and drawings are stamps of Tux Paint, clip art is from the Open Clip Art Library (two large
collections in which names of files are in many languages), and emoji are given by their code points, which all fonts share.
The files were chosen by eye: one whole thing with transparency around it, no text, no duplicates.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BACKGROUNDS", "CLASSES", "OTHER_CLIP_ART", "OTHER_STAMPS", "Sources"]


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of one class, names separated by spaces.

    Attributes:
        photographs: Below `usr/share/tuxpaint/stamps` in `tuxpaint-stamps-default`.
        drawings: Below the same folder.
        clip_art: Below `usr/share/openclipart/png` in `openclipart-png`.
        emoji: Code points, as in the names of the files of emoji fonts.
    """

    photographs: str
    drawings: str
    clip_art: str
    emoji: str

    def files(self, style: str) -> list[str]:
        """The names in one of the attributes."""
        return str(getattr(self, style)).split()


def _below(folder: str, names: str) -> str:
    return " ".join(f"{folder}/{name}" for name in names.split())


def _all(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _animals(kind: str, names: str) -> str:
    return _below(f"animals/{kind}", names)


def _clip_mammals(names: str) -> str:
    return _below("animals/mammals", names)


CLASSES: dict[str, Sources] = {
    "airplane": Sources(
        _all("vehicles/flight/planes/747", "military/vehicles/f22_raptor"),
        "vehicles/flight/planes/cartoon/plane",
        _below(
            "transportation/vehicles",
            "aircraft_jarno_vasamaa1 aircraft_jarno_vasamaa2 aircraft_jarno_vasamaa3 aircraft_jarno_vasamaa4"
            " aircraft_jarno_vasamaa_ airplane_nicu_buculei_01",
        ),
        "2708-fe0f 1f6e9-fe0f",
    ),
    "apple": Sources(
        _below("food/fruit", "apple_fuji apple_granny_smith apple_green apple_red apple_sierra_beauty"),
        "food/fruit/cartoon/apple",
        _below(
            "food/fruit",
            "an_apple_01 another_apple_01 applf apple_bitten_dan_gerhard_01 apple_martin_schmidt-li_01r"
            " cartoon_apple_k_yager_01",
        ),
        "1f34e 1f34f",
    ),
    "ball": Sources(
        _below("sports", "basketball cricketball soccer tennis_ball"),
        "sports/cartoon/volleyball",
        _all(
            _below("recreation/toys", "ball beach_ball_01 beachball_v0.1 baseball_anthony_liekens_01"),
            _below(
                "recreation/sports",
                "basebalm_ganson soccer_ball_ganson soccer_ballon_tanguy_jac_ volley-ball_andrea_bianc_01"
                " volley_ball_angelo_gelmi_01 8ball_nicu_buculei_01 9_ball_jarno_vasamaa",
            ),
        ),
        "26bd 1f3c0 26be 1f94e 1f3d0 1f3b1",
    ),
    "banana": Sources(
        "food/fruit/banana",
        "food/fruit/cartoon/banana",
        _below("food/fruit", "banana bananas_nicu_buculei_01"),
        "1f34c",
    ),
    "bear": Sources(
        _animals("mammals/bears", "bear european-bear"),
        "animals/mammals/bears/cartoon/teddy_bear",
        _clip_mammals(
            "bears/bear_peterm_01 bears/orso_architetto_francesc_01 bears/orso_architetto_francesc_02"
            " bears/orso_architetto_francesc_03 bears/orso_architetto_francesc_04 bears/ours_etienne_bersac_r"
        ),
        "1f43b 1f9f8",
    ),
    "boat": Sources(
        _below("vehicles/ship", "chineseJunk walnutBoat"),
        "vehicles/ship/cartoon/tugboat",
        _all(
            _below(
                "transportation/boating",
                "boat_jarno_vasamaa1 boat_jarno_vasamaa_ sailboat_illustration",
            ),
            "transportation/vehicles/trawler_01",
        ),
        "26f5 1f6e5-fe0f 1f6a2 26f4-fe0f 1f6f3-fe0f 1f6a4 1f6f6",
    ),
    "bus": Sources(
        "vehicles/masstransit/green_korean_bus",
        "vehicles/masstransit/cartoon/double_decker_bus",
        _below("transportation", "bus1_jarno_vasamaa_01 bus2_jarno_vasamaa_01 bus2_bw_jarno_vasamaa_01"),
        "1f68c 1f68d 1f68e 1f690",
    ),
    "butterfly": Sources(
        "animals/insects/xanthia",
        _all("animals/insects/cartoon/butterfly", "seasonal/easter/butterfly"),
        _below(
            "animals/bugs",
            "butterfly_jonathan_dietr_01 butterfly_jonvdveen_01 farfalla_butterfly_fra1 farfalla_semplice_archit_01"
            " farfalla_stilizzata_arch_01",
        ),
        "1f98b",
    ),
    "car": Sources(
        _all(_below("vehicles/auto", "beetle sedan sportscar2"), "vehicles/emergency/sedan_police"),
        "",
        _all(
            _below("transportation/vehicles", "car 4wd blazer_01 road_runner_ganson skoda_car_alejandro_teja_"),
            _below(
                "transportation",
                "car_jamin_ellis_ dodge_neon_green_ganson dodge_neon_pink_ganson sportcar_sergio_luiz_ara_01"
                " toyota_land_cruiser_ganson formula_one_car_gerald_g_01",
            ),
        ),
        "1f697 1f698 1f699 1f695 1f696 1f693 1f694 1f3ce-fe0f",
    ),
    "cat": Sources(
        "",
        "seasonal/halloween/blackcat",
        _clip_mammals(
            "cartoon_cat_gerald_g._01 housecats/gatto_cat_architetto_fra_01 housecats/gatto_cat_architetto_fra_02"
            " housecats/gatto_cat_architetto_fra_03 housecats/gatto_cat_architetto_fra_04 housecats/kitten_gerald_g._01"
            " housecats/cartoon_vgcats_fanart_01"
        ),
        "1f431 1f408 1f408-200d-2b1b",
    ),
    "chicken": Sources(
        _animals("birds", "chicken_profile hen rooster"),
        "",
        _below("animals/birds", "gallo_di_profilo_archite_01 hen_01 rooster_01"),
        "1f413 1f414",
    ),
    "cow": Sources(
        _animals("mammals/bovines", "bull cow cow_white zebu"),
        "",
        _clip_mammals("vacca_pezzata_rossa_val_01"),
        "1f42e 1f404 1f402",
    ),
    "cup": Sources(
        "household/dishes/mug",
        "",
        _below(
            "food/beverages",
            "coffe_tea_01 coffee coffee_ganson cuppa_schwoo_01 mug tazza_di_caffe_architett_01 teacup_ganson"
            " zielony_kubek_herbaty_-_01",
        ),
        "2615 1f375",
    ),
    "deer": Sources(
        _animals("mammals/deer", "caribou deer doe wapiti"),
        "",
        _clip_mammals("deer_matt_todd_01 fawn_mo_01"),
        "1f98c",
    ),
    "dog": Sources(
        _animals("mammals/dogs", "dingo dog"),
        "",
        _clip_mammals(
            "dog_01_drawn_with_strai_01 dog_03_drawn_with_strai_01 dog_04_drawn_with_strai_01 dog_05_drawn_with_strai_01"
            " dog_06_drawn_with_strai_01 dog_on_leash_gerald_g._01 dogs/beagle_copper_ganson dogs/black_lab_ganson"
            " dogs/bobi_architetto_francesc_01 dogs/bored_dog_01"
        ),
        "1f436 1f415 1f429 1f9ae 1f415-200d-1f9ba",
    ),
    "drum": Sources(
        _below("hobbies/music/percussion", "drum_tomtom_floor drumkit"),
        "",
        _below(
            "recreation/music",
            "africandrum_benji_park1 africandrum_benji_park2 africandrum_benji_park_ djambf_ganson drums_jarno_vasamaa_",
        ),
        "1f941 1fa98",
    ),
    "duck": Sources(
        _all(_animals("birds", "drake duck"), "household/rubberduck"),
        "",
        _below("animals/birds", "duck_yellow_kurt_cagle_ jonathon_s_duck_01"),
        "1f986",
    ),
    "elephant": Sources(
        "animals/mammals/elephant",
        "",
        _clip_mammals("contour_elephant elefante01_architetto_fr_01 elefante02_architetto_fr_01 elephant_01"),
        "1f418",
    ),
    "fish": Sources(
        _animals("fish", "bluegroper butterflyfish clownfish coraltrout dolphinfish moonwrasse stripedfish"),
        "",
        _below(
            "animals/fish",
            "bofish_massimo_aiello_r brown_fish_01 clown_loach_01 giraffe_cichlid_01 pescetto_arancione_archi_01"
            " yellow_gourami_01",
        ),
        "1f41f 1f420 1f421",
    ),
    "flower": Sources(
        _all(
            _below(
                "plants/flowers",
                "adeenia anemone_red anthoorium bolsom chemparathi daffodil flower1 flower10 flower2 flower3 flower4"
                " flower5 flower6 flower7 flower8 flower9 iris marigold pigface red-gazania rose whitestar-petunia"
                " yellow-flower",
            ),
        ),
        "",
        _all(
            _below(
                "plants/flowers",
                "daisy_jonathan_dietrich_01 fiore_02 flower1_juliane_krug_01 flower2_juliane_krug_01 flower_01 flower_02"
                " flower_03 funnyflower_02 pink-rose_tess_brady_01 red_flower_01 red_flower_raphael_seban_01"
                " daffodil_jonathan_dietri_01 tulips_ganson sakura_01",
            ),
        ),
        "1f337 1f338 1f339 1f33a 1f33b 1f33c 1fabb 1fab7",
    ),
    "frog": Sources(
        _animals("amphibians", "frog frog-1"),
        "",
        _below(
            "animals",
            "rana01_architetto_france_01 rana02_architetto_france_01 rana03_architetto_france_01 red-eye_frog_mirko_maisc_01",
        ),
        "1f438",
    ),
    "guitar": Sources(
        _below("hobbies/music/string", "guitar2 guitar_classical guitar_electric guitar_electric_bass"),
        "",
        _below(
            "recreation/music",
            "bass_guitar_a.j._ashton_ electric_guitar_andrea__01r guitar_ganson guitar_jarno_vasamaa1 guitar_jarno_vasamaa2"
            " guitar_profile_philippe__01",
        ),
        "1f3b8",
    ),
    "hammer": Sources(
        _below("household/tools", "hammer mallet_metal"),
        "",
        _below(
            "tools",
            "blacksmith_hammer_ganson construction_hammer_jon__01 hammer_nicu_buculei_01 hammer_peterm1 wooden_mallot_benji_park_",
        ),
        "1f528",
    ),
    "horse": Sources(
        "animals/mammals/equines/horse",
        "",
        _clip_mammals(" ".join(f"horses/cavallo_architetto_franc_0{number}" for number in range(1, 8))),
        "1f434 1f40e",
    ),
    "lion": Sources(
        _animals("mammals/cats", "lion lion-2"),
        "animals/mammals/cats/cartoon/lion",
        _clip_mammals(
            "big_cats/leone_01_architetto_fran_01 big_cats/leone_02_architetto_fran_01 big_cats/leone_architetto_frances_01"
        ),
        "1f981",
    ),
    "monkey": Sources(
        _animals("mammals/apes", "chimp gorilla tamarin_emperor"),
        "",
        _all(
            _clip_mammals("angry_monkey_benji_park_01 happy_monkey_benji_park_01 monkey_head_nicu_buculei_01"),
            "animals/sailor_monkey_nicu_bucul_01",
        ),
        "1f435 1f412 1f98d 1f9a7",
    ),
    "mouse": Sources(
        _animals("mammals/rodents", "mouse rat"),
        "",
        _clip_mammals("topo_architetto_francesc_01"),
        "1f42d 1f401 1f400",
    ),
    "mushroom": Sources(
        _all("food/vegetables/mushroom", _below("plants/mushrooms", "cep-1 cep-2")),
        "",
        _below("plants", "champignon_01 mushroom mushroom_benji_park_ toadstool_daniel_steele_r"),
        "1f344 1f344-200d-1f7eb",
    ),
    "orange": Sources(
        _below("food/fruit", "mandarine orange orange_seville"),
        "food/fruit/cartoon/orange",
        _below("food/fruit", "orange_dave_pena_01 orange_simple"),
        "1f34a",
    ),
    "parrot": Sources(
        _animals("birds", "adelaide-rosella rainbow-lorikeet"),
        "",
        "",
        "1f99c",
    ),
    "penguin": Sources(
        _animals("birds", "little-penguin magellanic_penguin penguin"),
        _animals("birds/cartoon", "pengwin tux"),
        _below(
            "animals/birds",
            "emperor_penguin_ralf_ste_01 new_penguin_charles_mcco_01 penguin/plush_tux_anita_01 penguin/tux_clemente_01",
        ),
        "1f427",
    ),
    "pig": Sources(
        _animals("mammals", "pig pig_golden pig_golden2 wildboar"),
        "",
        _clip_mammals("a_simple_pig_01 pig_marcelo_caiafa1 porcinet_01"),
        "1f437 1f416 1f417",
    ),
    "rabbit": Sources(
        _animals("mammals", "rabbit_little rodents/rabbit rodents/rabbit-2"),
        _below("seasonal/easter", "bunny bunny-egg bunny-head"),
        _clip_mammals("coniglio_architetto_fran_01"),
        "1f430 1f407",
    ),
    "scissors": Sources(
        _below("household/arttools", "scissors_small_closed scissors_small_open"),
        "",
        _all(_below("office", "scissors scissors_01 scissors_forbici_franc_")),
        "2702-fe0f",
    ),
    "sheep": Sources(
        _animals("mammals/bovines", "ram sheep sheep_lamb"),
        "",
        _clip_mammals("pecora_architetto_france_01 sheep-md-v0.1"),
        "1f411 1f40f",
    ),
    "strawberry": Sources(
        _below("food/fruit", "Strawberry2 strawberry"),
        "food/fruit/cartoon/strawberry",
        _below("food/fruit", "strawberry_01 strawberry_jonathan_diet_01 strawberry_simple"),
        "1f353",
    ),
    "tiger": Sources(
        _animals("mammals/cats", "tiger tiger_sumatran"),
        "",
        _clip_mammals(
            "big_cats/color_tiger_susan_park_01 big_cats/tiger_graig_ryan_smith_-_01 big_cats/tigre01_architetto_franc_01"
            " big_cats/tigre02_architetto_franc_01 big_cats/tigre03_architetto_franc_01 big_cats/tigre04_architetto_franc_01"
            " big_cats/tigre05_architetto_franc_01"
        ),
        "1f42f 1f405",
    ),
    "tree": Sources(
        _all(_below("plants/trees", "birch holm_oak liberia-palm tree336"), "seasonal/christmas/Christmas_Tree_photo"),
        "seasonal/christmas/tree",
        _all(
            "plants/albero_architetto_france_01",
            _below(
                "plants/trees",
                "fall_coloured_tree_geral_01 palmtree_b_r_kessels_ tree_branches_and_roots_01 tree_whit_fruits_01"
                " christmas_tree_mo_01 evergreen/christmas_tree_01 evergreen/plain_tree_01 evergreen/tree"
                " evergreen/simple_evergreen_with_highlights_01 evergreen/tree_02",
            ),
        ),
        "1f332 1f333 1f334 1f384",
    ),
    "truck": Sources(
        _all("vehicles/auto/truck", "vehicles/garbagetruck", "vehicles/emergency/firetruck"),
        _all(
            _below("vehicles/construction/cartoon", "cementMixer terex towTruck"),
            "vehicles/emergency/cartoon/fire_engine",
        ),
        _below("transportation", "big_truck_01 small_truck_steffen_gluc_01 truck_jarno_vasamaa1 truck_jarno_vasamaa_"),
        "1f69a 1f69b 1f6fb 1f692",
    ),
    "whale": Sources(
        _animals("mammals/aquatic", "orca whale"),
        "",
        _below("animals/fish", "bluewhale-md orca_matthew_gates_r"),
        "1f433 1f40b",
    ),
}
"""Label -> files. Apes count as monkeys, dingos as dogs, a moth as a butterfly and fire engines as trucks."""

BACKGROUNDS: dict[str, dict[str, str]] = {
    "plasma-workspace-wallpapers": {
        "usr/share/wallpapers/BytheWater/contents/images/2560x1600.jpg": "LGPL-3, Maciej Wiklo",
        "usr/share/wallpapers/ColdRipple/contents/images/2560x1600.jpg": "LGPL-3, Risto Saukonpää",
        "usr/share/wallpapers/ColorfulCups/contents/images/2560x1600.jpg": "LGPL-3, Dmitri Popov",
        "usr/share/wallpapers/EveningGlow/contents/images/2560x1600.jpg": "LGPL-3, Ian Hex",
        "usr/share/wallpapers/FallenLeaf/contents/images/2560x1600.jpg": "LGPL-3, Martin Klapetek",
        "usr/share/wallpapers/Grey/contents/images/2560x1600.jpg": "LGPL-3, Sigi Sagi",
        "usr/share/wallpapers/Kite/contents/images/2560x1600.jpg": "LGPL-3, Risto Saukonpää",
        "usr/share/wallpapers/OneStandsOut/contents/images/2560x1600.jpg": "LGPL-3, Risto Saukonpää",
        "usr/share/wallpapers/Path/contents/images/2560x1600.jpg": "LGPL-3, Risto Saukonpää",
        "usr/share/wallpapers/Volna/contents/images/5120x2880.jpg": "CC-BY-SA-4.0, Nikita Babin",
        "usr/share/wallpapers/summer_1am/contents/images/2560x1600.jpg": "LGPL-3, Risto Saukonpää",
    },
    "mate-backgrounds": {
        "usr/share/backgrounds/mate/nature/Aqua.jpg": "GPL-2+, Charles Barbin",
        "usr/share/backgrounds/mate/nature/Blinds.jpg": "GPL-2+, Lennart Poettering and Andrea Cimitan",
        "usr/share/backgrounds/mate/nature/Dune.jpg": "GPL-2+, Marco Cogoni and Hylke Bons",
        "usr/share/backgrounds/mate/nature/GreenMeadow.jpg": "GPL-2+, Timothy Schellhase and Lapo Calamandrei",
        "usr/share/backgrounds/mate/nature/LadyBird.jpg": "GPL-2+, Charles Barbin",
        "usr/share/backgrounds/mate/nature/RainDrops.jpg": "GPL-2+, blackcombwhistler07",
        "usr/share/backgrounds/mate/nature/Storm.jpg": "GPL-2+, Sergey Nazarov",
        "usr/share/backgrounds/mate/nature/Wood.jpg": "GPL-2+, Jean-François Fortin Tam",
    },
    "lomiri-wallpapers-16.04": {
        "usr/share/backgrounds/Bridge_by_Sander_Klootwijk.jpg": "CC-BY-SA-4.0, Sander Klootwijk",
        "usr/share/backgrounds/Dragonfly_by_Bolly.jpg": "CC-BY-SA-4.0, Bolly",
        "usr/share/backgrounds/Picture_0B_by_freespace.jpg": "CC-BY-4.0, Trevor",
        "usr/share/backgrounds/Picture_1A_by_freespace.jpg": "CC-BY-4.0, Trevor",
        "usr/share/backgrounds/aitzgorri_by_Aitzol_Berasategi.jpg": "CC-BY-4.0, Aitzol Berasategi",
        "usr/share/backgrounds/greentock_by_Peter_Nerlich.jpg": "CC-BY-SA-4.0, Peter Nerlich",
        "usr/share/backgrounds/life_by_Aitzol_Berasategi.jpg": "CC-BY-4.0, Aitzol Berasategi",
        "usr/share/backgrounds/picosdeeuropa_by_Aitzol_Berasategi.jpg": "CC-BY-4.0, Aitzol Berasategi",
        "usr/share/backgrounds/seeding_by_Clements_Engelhardt.jpg": "CC0-1.0, Clemens Engelhardt",
        "usr/share/backgrounds/sunset_by_Aitzol_Berasategi.jpg": "CC-BY-4.0, Aitzol Berasategi",
    },
}
"""Debian package -> photograph without any of the things -> its licence and author."""

OTHER_STAMPS = (
    "animals clothes food hobbies household medical plants seasonal/christmas space sports town/houses vehicles"
)
OTHER_CLIP_ART = (
    "animals buildings/homes containers food plants recreation/music recreation/sports recreation/toys tools"
    " transportation/boating transportation/vehicles"
)
"""Folders of the two packages with things of which most belong to no class."""
